//! The permissions of a file.

/// The permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permissions {
    /// The permission bits as for `chmod`, such as `0o640`. Other mode bits, such as
    /// set-user-ID, are not kept.
    pub bits: u32,
    /// The ID of the group that the group bits apply to, or `None` for the group that the
    /// system gives a new file.
    pub group: Option<u32>,
}

impl Permissions {
    /// The mask of the permission bits.
    pub const MASK: u32 = 0o777;

    /// Returns permissions with these bits, and this group.
    #[must_use]
    pub const fn new(bits: u32, group: Option<u32>) -> Self {
        Self { bits, group }
    }

    /// Returns the permissions and the group of a file.
    #[cfg(unix)]
    pub fn of(file: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { bits: file.mode() & Self::MASK, group: Some(file.gid()) }
    }

    /// Returns the bits for a file that cannot be given to the group. The file then
    /// belongs to another group, and members of the intended group count as others. Both
    /// get only what the group and others were allowed.
    #[must_use]
    pub const fn without_group(self) -> u32 {
        let both = self.bits >> 3 & self.bits & 0o007;
        self.bits & 0o700 | both << 3 | both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_do_more_than_before() {
        for (bits, left) in [
            (0o640, 0o600),
            (0o664, 0o644),
            (0o666, 0o666),
            (0o604, 0o600),
            (0o647, 0o644),
            (0o674, 0o644),
            (0o775, 0o755),
            (0o751, 0o711),
            (0o600, 0o600),
        ] {
            assert_eq!(Permissions::new(bits, Some(1)).without_group(), left, "{bits:o}");
        }
    }
}
