//! The owner of a restored file: `UID:GID`, by number or by name.

use nix::unistd::{Group, User};

/// `1000:1000`, `app:app`, or `app` with the user's own group.
pub fn parse(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let known = match user.parse::<u32>() {
        Ok(uid) => (uid, None),
        Err(_) => {
            let found = User::from_name(user).map_err(|error| format!("look up the user {user:?}: {error}"))?;
            let found = found.ok_or_else(|| format!("there is no user {user:?}"))?;
            (found.uid.as_raw(), Some(found.gid.as_raw()))
        }
    };
    let gid = match (group, known.1) {
        (None, Some(gid)) => gid,
        (None, None) => return Err(format!("{text:?} names no group; write UID:GID")),
        (Some(group), _) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let found = Group::from_name(group).map_err(|error| format!("look up the group {group:?}: {error}"))?;
                found.ok_or_else(|| format!("there is no group {group:?}"))?.gid.as_raw()
            }
        },
    };
    Ok((known.0, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_by_name() {
        assert_eq!(parse("root:root"), Ok((0, 0)));
        assert_eq!(parse("root"), Ok((0, 0)));
        assert_eq!(parse("root:7"), Ok((0, 7)));
    }
}
