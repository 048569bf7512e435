//! Who may use a file.

/// Who may read, write and run a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The permission bits, as `chmod` takes them: `0o640`. Of others, such as
    /// set-user-ID, nothing is kept.
    pub bits: u32,
    /// The id of the group that the group's bits are meant for. None: the group
    /// that the system gives a new file.
    pub group: Option<u32>,
}

impl Permissions {
    /// The bits that say who may read, write and run.
    pub const MASK: u32 = 0o777;

    /// Those of a file, and its group.
    #[cfg(unix)]
    pub fn of(file: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { bits: file.mode() & Self::MASK, group: Some(file.gid()) }
    }

    /// The bits that are left where the file can't be given to the group. Another
    /// group, and everybody else, whom the members of the group are among then, may
    /// do only what both the group and everybody may.
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
            assert_eq!(Permissions { bits, group: Some(1) }.without_group(), left, "{bits:o}");
        }
    }
}
