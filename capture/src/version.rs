//! A server's version, as far as statements and flags differ by it.

/// A MySQL version, from the text in the server's greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    text: String,
    numbers: (u16, u16, u16),
}

impl Version {
    /// Reads `8.0.36-0ubuntu0.22.04.1` and its like; what is no number counts as 0.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let mut numbers = text.split('.').take(3).map(|part| {
            part.split(|c: char| !c.is_ascii_digit())
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        });
        let mut next = || numbers.next().unwrap_or(0);
        let numbers = (next(), next(), next());
        Self { text, numbers }
    }

    /// The text as the server sent it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// True for this version and every later one.
    pub(crate) fn at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        self.numbers >= (major, minor, patch)
    }

    /// MySQL 5.7 or later, and not MariaDB, whose binlog differs.
    pub(crate) fn is_supported(&self) -> bool {
        self.at_least(5, 7, 0) && !self.text.to_ascii_lowercase().contains("mariadb")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_of_all_builds() {
        assert!(Version::new("9.7.0").at_least(8, 2, 0));
        assert!(!Version::new("8.0.36-0ubuntu0.22.04.1").at_least(8, 2, 0));
        assert!(Version::new("8.0.26-16").at_least(8, 0, 26));
        assert!(Version::new("5.7.44-log").is_supported());
        assert!(!Version::new("5.6.51").is_supported());
        assert!(!Version::new("11.8.2-MariaDB-log").is_supported());
        assert!(!Version::new("5.5.5-10.11.6-MariaDB").is_supported());
        assert!(!Version::new("").is_supported());
    }
}
