//! Passwords as they stand in the file: literally, or by the name of a file or an environment variable. Nothing here ever
//! prints one, not even when it has the wrong type (W1).

use std::fmt;
use std::path::{Path, PathBuf};

use outrigger_protocol::endpoint::Secret;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Password {
    /// It stands in the file.
    Literal(Secret),
    /// It is the content of a file, without a line break at the end.
    File(PathBuf),
    /// It is the value of an environment variable.
    Env(String),
}

impl Password {
    /// Fetches the password; the error is a sentence about where it should have come from. A relative path begins in `folder`.
    pub(super) fn resolve(&self, folder: &Path) -> Result<Secret, String> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let path = folder.join(path);
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    format!("the password file {} cannot be read: {error}", path.display())
                })?;
                Ok(Secret::new(
                    text.strip_suffix('\n')
                        .map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line)),
                ))
            }
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => Ok(Secret::new(text)),
                Err(std::env::VarError::NotPresent) => Err(format!(
                    "the environment variable {name} is to hold the password and is not set"
                )),
                Err(std::env::VarError::NotUnicode(_)) => Err(format!(
                    "the environment variable {name} is to hold the password and is not UTF-8"
                )),
            },
        }
    }
}

const EXPECTED: &str = "a password is a text in quotes, or { file = \"PATH\" }, or { env = \"NAME\" }";

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PasswordVisitor)
    }
}

struct PasswordVisitor;

// serde's own "invalid type" messages quote the value: every type that TOML has is answered here instead.
impl<'de> Visitor<'de> for PasswordVisitor {
    type Value = Password;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or { file = \"PATH\" }, or { env = \"NAME\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
        Ok(Password::Literal(Secret::new(text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Password, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Password, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Password, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Password, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Password, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Password, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Password, A::Error> {
        let found = match map.next_key::<String>()?.as_deref() {
            Some("file") => map.next_value::<PathBuf>().map(Password::File),
            Some("env") => map.next_value::<String>().map(Password::Env),
            _ => return Err(de::Error::custom(EXPECTED)),
        };
        let found = found.map_err(|_quotes_the_value| de::Error::custom(EXPECTED))?;
        match map.next_key::<String>()? {
            None => Ok(found),
            Some(_) => Err(de::Error::custom(EXPECTED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Holder {
        password: Password,
    }

    fn parse(value: &str) -> Result<Password, String> {
        toml::from_str::<Holder>(&format!("password = {value}"))
            .map(|h| h.password)
            .map_err(|e| e.message().to_owned())
    }

    #[test]
    fn three_ways_to_write_one() {
        assert_eq!(parse("\"x y\"").unwrap(), Password::Literal(Secret::new("x y")));
        assert_eq!(parse("{ file = \"/p\" }").unwrap(), Password::File("/p".into()));
        assert_eq!(parse("{ env = \"P\" }").unwrap(), Password::Env("P".into()));
    }

    #[test]
    fn a_wrong_one_is_not_quoted() {
        for value in [
            "12345",
            "1.2345",
            "true",
            "[\"12345\"]",
            "{ fiel = \"12345\" }",
            "{ file = 12345 }",
            "1979-05-27",
        ] {
            let message = parse(value).unwrap_err();
            assert!(
                !message.contains("2345") && !message.contains("1979"),
                "{value}: {message}"
            );
        }
    }

    #[test]
    fn a_file_loses_one_line_break_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " s3cret \n\n").unwrap();
        let folder = file.path().parent().unwrap();
        let name = file.path().file_name().unwrap();
        assert_eq!(
            Password::File(name.into()).resolve(folder).unwrap().expose(),
            " s3cret \n"
        );
        let missing = Password::File("/nonexistent/p".into())
            .resolve(folder)
            .unwrap_err();
        assert!(missing.starts_with("the password file /nonexistent/p cannot be read"));
    }
}
