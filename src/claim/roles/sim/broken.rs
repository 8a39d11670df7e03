//! Executors that are wrong on purpose. What the oracle does not catch it does not check.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The application may write although the next TXID is not ours.
    NeverSeals,
    /// A claim counts as released when it is old by the wall clocks of both.
    GoesByTheWallClock,
    /// A follower installs what the primary has not confirmed.
    InstallsWhatIsNotConfirmed,
    /// A follower claims without having installed everything.
    ClaimsWhileBehind,
    /// A process does not know that others came after its instance.
    ForgetsThatItWasSuperseded,
    /// The application is not kept from writing when the claim is not renewed.
    NeverCloses,
    /// A holder never sees a later claim.
    IgnoresLaterClaims,
    /// A claim is released before the last upload.
    ReleasesBeforeTheLastUpload,
    /// Beats of others are read once, and look as if they stood still.
    ReadsOldBeats,
    /// `candidate: false` is not heeded.
    EveryNodeIsACandidate,
    /// Timers are late, so that a beat counts from long after it was written.
    WakesLate,
}

impl Broken {
    pub const ALL: [Broken; 10] = [
        Broken::NeverSeals,
        Broken::GoesByTheWallClock,
        Broken::InstallsWhatIsNotConfirmed,
        Broken::ClaimsWhileBehind,
        Broken::ForgetsThatItWasSuperseded,
        Broken::NeverCloses,
        Broken::IgnoresLaterClaims,
        Broken::ReleasesBeforeTheLastUpload,
        Broken::ReadsOldBeats,
        Broken::EveryNodeIsACandidate,
    ];
}
