//! How many connections the process has descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of descriptors to the hard one, and says how many connections `wanted` comes to when
/// `reserved` descriptors are left to the rest of the process. At least one.
pub(crate) fn connection_cap(wanted: usize, reserved: usize) -> usize {
    let limit = raise_limit().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    wanted.min(limit.saturating_sub(reserved)).max(1)
}

/// Returns the limit that holds afterwards; `None` is no limit.
fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    // A system may refuse what it claims to allow; the soft limit holds then.
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_the_lower_of_what_is_wanted_and_what_there_is() {
        assert_eq!(connection_cap(3, 0), 3);
        assert_eq!(connection_cap(usize::MAX, usize::MAX), 1);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
