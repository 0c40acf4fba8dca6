//! What can be wrong with a configuration file, and where.

use std::fmt;

use thiserror::Error;

/// A place in a text file, counted from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of the byte `offset` of `text`; the end of the text when it is shorter.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A configuration that cannot be used. The text never contains a secret (W1).
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file itself cannot be read.
    #[error(
        "the configuration file {file} cannot be read ({cause}); name another with --config, or write one with \
         `outrigger config example`"
    )]
    Unreadable {
        /// The file's path.
        file: String,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{file}:{place}: {message}")]
    Wrong {
        /// The file's path.
        file: String,
        /// Where in the file.
        place: Place,
        /// What is wrong and what would be right.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_in_characters() {
        let text = "a\nüb\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 4), Place { line: 2, column: 2 });
        assert_eq!(Place::of(text, 99), Place { line: 3, column: 1 });
    }
}
