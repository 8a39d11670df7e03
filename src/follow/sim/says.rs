//! What a copy says of itself must be true.

use tokio::time::Instant;

use super::world::{START, World};

impl World {
    /// What was the newest state at a moment has everything that there was then.
    pub fn is_current(&self) -> Result<(), String> {
        let Some((at, position)) = self.core.as_ref().and_then(|core| core.current_at().zip(core.position())) else {
            return Ok(());
        };
        let passed = at.saturating_duration_since(*START.get_or_init(Instant::now)).as_millis();
        let at_ms = u64::try_from(passed).expect("not that long");
        let states = &self.replica.states;
        let is_same_history = states.iter().any(|(_, timestamp_ms)| *timestamp_ms == position.timestamp_ms);
        if self.shown_less.contains(&at_ms) || !is_same_history {
            return Ok(());
        }
        let newest = states.iter().filter(|(_, timestamp_ms)| *timestamp_ms <= at_ms as i64).count() as u64;
        match position.txid.get() >= newest {
            true => Ok(()),
            false => {
                Err(format!("it says that {} was the newest state at {at_ms}, and that was {newest}", position.txid))
            }
        }
    }

    /// Who says that everything is installed has what there was when it was asked.
    pub fn has_caught_up(&self) -> Result<(), String> {
        let Some(core) = self.core.as_ref().filter(|core| core.caught_up() >= self.asked.number) else { return Ok(()) };
        let history = self.replica.states.first().map_or(0, |(_, timestamp_ms)| *timestamp_ms);
        if self.asked.is_void || self.asked.number == 0 || history != self.asked.history {
            return Ok(());
        }
        match core.position() {
            Some(at) if at.txid.get() < self.asked.newest => {
                Err(format!("it says that it has caught up with {}, and is at {}", self.asked.newest, at.txid))
            }
            _ => Ok(()),
        }
    }
}
