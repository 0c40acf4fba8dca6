//! A configuration file as parsed TOML that still knows where everything stands: unknown keys, sections, places.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{ConfigError, Place};
use super::fields;
use super::schema::{Kind, SECTIONS, Section};

/// A parsed file.
#[derive(Debug)]
pub(super) struct Document<'i> {
    file: &'i str,
    text: &'i str,
    root: Spanned<DeTable<'i>>,
}

/// A section's table in a document, and its section in the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'d> {
    section: &'static Section,
    table: &'d DeTable<'d>,
    start: usize,
}

impl<'i> Document<'i> {
    /// Parses `text`, which was read from `file`, and refuses keys that the schema does not know.
    pub(super) fn parse(file: &'i str, text: &'i str) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map_err(|error| wrong(file, text, &error))?;
        let document = Self { file, text, root };
        document.check_keys("", document.root.get_ref())?;
        Ok(document)
    }

    /// The section `name`, which is in no other section; `None` when it is absent.
    pub(super) fn part(&self, name: &str) -> Result<Option<Part<'_>>, ConfigError> {
        self.find(self.root.get_ref(), name)
    }

    /// The section `name` inside `part`.
    pub(super) fn part_in<'d>(&'d self, part: Part<'d>, name: &str) -> Result<Option<Part<'d>>, ConfigError> {
        self.find(part.table, &format!("{}.{name}", part.section.name))
    }

    /// Every `[[name]]`.
    pub(super) fn parts(&self, name: &str) -> Result<Vec<Part<'_>>, ConfigError> {
        let section = section(name).ok_or_else(|| self.at(0, format!("there is no section [{name}]")))?;
        let Some(value) = self.root.get_ref().get(name) else {
            return Ok(Vec::new());
        };
        let start = value.span().start;
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.at(start, format!("write it [[{name}]], there may be several")));
        };
        array
            .iter()
            .map(|item| match item.get_ref().as_table() {
                Some(table) => Ok(Part {
                    section,
                    table,
                    start: item.span().start,
                }),
                None => Err(self.at(item.span().start, format!("expected a section [[{name}]]"))),
            })
            .collect()
    }

    fn find<'d>(&'d self, table: &'d DeTable<'d>, name: &str) -> Result<Option<Part<'d>>, ConfigError> {
        let section = section(name).ok_or_else(|| self.at(0, format!("there is no section [{name}]")))?;
        let Some(value) = table.get(last(name)) else {
            return Ok(None);
        };
        let start = value.span().start;
        match value.get_ref().as_table() {
            Some(table) => Ok(Some(Part {
                section,
                table,
                start,
            })),
            None => Err(self.at(start, format!("expected a section [{name}]"))),
        }
    }

    /// Reads a section into a struct. Keys that belong to other structs of the section are kept from it.
    pub(super) fn read<T: DeserializeOwned>(&self, part: Part<'_>) -> Result<T, ConfigError> {
        let known = |key: &str| fields::of::<T>().contains(&key);
        let table: DeTable<'_> = part
            .table
            .iter()
            .filter(|(key, _)| known(key.get_ref()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let value = Spanned::new(part.start..part.start, DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| {
            let place = error.span().map_or(part.start, |span| span.start);
            self.at(place, format!("{} (in [{}])", error.message(), part.section.name))
        })
    }

    /// An error about `key` of `part`, or about the section itself when the key is not there.
    pub(super) fn wrong(&self, part: Part<'_>, key: &str, message: impl Into<String>) -> ConfigError {
        self.at(
            part.table.get(key).map_or(part.start, |value| value.span().start),
            message,
        )
    }

    /// An error about the whole file.
    pub(super) fn missing(&self, message: impl Into<String>) -> ConfigError {
        self.at(0, message)
    }

    fn at(&self, offset: usize, message: impl Into<String>) -> ConfigError {
        ConfigError::Wrong {
            file: self.file.to_owned(),
            place: Place::of(self.text, offset),
            message: message.into(),
        }
    }

    /// Refuses keys and sections that the schema does not have, naming the nearest that it has.
    fn check_keys(&self, prefix: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (key, value) in table {
            let name = key.get_ref();
            let path = if prefix.is_empty() {
                name.to_string()
            } else {
                format!("{prefix}.{name}")
            };
            if section(&path).is_some() {
                let tables: Vec<&DeTable<'_>> = match value.get_ref() {
                    DeValue::Table(table) => vec![table],
                    DeValue::Array(items) => items
                        .iter()
                        .filter_map(|item| item.get_ref().as_table())
                        .collect(),
                    _ => return Err(self.at(value.span().start, format!("expected a section [{path}]"))),
                };
                for table in tables {
                    self.check_keys(&path, table)?;
                }
            } else if !keys(prefix).any(|known| known == name.as_ref()) {
                return Err(self.at(key.span().start, unknown(prefix, name)));
            }
        }
        Ok(())
    }
}

/// The section of that dotted name.
fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The names that may stand in a section: its keys, not its sections.
fn keys(section_name: &str) -> impl Iterator<Item = &'static str> {
    section(section_name)
        .into_iter()
        .flat_map(|section| section.keys.iter().map(|key| key.name))
}

/// The names of the sections directly inside another (`""`: the file).
fn inner_sections(prefix: &str) -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().filter_map(move |section| {
        let inner = match prefix {
            "" => section.name,
            _ => section.name.strip_prefix(prefix)?.strip_prefix('.')?,
        };
        (!inner.contains('.')).then_some(inner)
    })
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What would be right instead of a name that is none of the known ones.
pub(super) fn hint(name: &str, known: &[&'static str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("the nearest is `{nearest}`"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// The known name that was probably meant.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance * 3 <= known.len().max(3) || known.starts_with(name))
        .map(|(_, known)| known)
}

/// The sentence about a name that is not known.
fn unknown(prefix: &str, name: &str) -> String {
    let place = if prefix.is_empty() {
        String::new()
    } else {
        format!(" in [{prefix}]")
    };
    let nearest = nearest(name, keys(prefix).chain(inner_sections(prefix)));
    if let Some(known) = nearest {
        return format!("unknown key `{name}`{place}; the nearest known key is `{known}`");
    }
    let elsewhere = SECTIONS
        .iter()
        .find(|section| section.keys.iter().any(|key| key.name == name));
    if let Some(section) = elsewhere {
        let brackets = if section.kind == Kind::Repeated {
            "[[…]]"
        } else {
            "[…]"
        };
        return format!(
            "unknown key `{name}`{place}; it belongs to {}",
            brackets.replace('…', section.name)
        );
    }
    let known: Vec<_> = keys(prefix).chain(inner_sections(prefix)).collect();
    format!("unknown key `{name}`{place}; known are {}", known.join(", "))
}

fn wrong(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::Wrong {
        file: file.to_owned(),
        place: Place::of(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        Document::parse("o.toml", text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_unknown_key_is_refused_with_place_and_nearest() {
        assert_eq!(
            complaint("[log]\npath = \"x\"\n  quta = 1\n"),
            "o.toml:3:3: unknown key `quta` in [log]; the nearest known key is `quota`"
        );
        assert_eq!(
            complaint("[[task]]\nname = \"a\"\n[task.targte]\n"),
            "o.toml:3:7: unknown key `targte` in [task]; the nearest known key is `target`"
        );
        assert_eq!(
            complaint("[sorce]\n"),
            "o.toml:1:2: unknown key `sorce`; the nearest known key is `source`"
        );
    }

    #[test]
    fn a_key_of_another_section_says_so() {
        assert_eq!(
            complaint("[source]\nquota = 3\n"),
            "o.toml:2:1: unknown key `quota` in [source]; it belongs to [log]"
        );
        assert!(complaint("[http]\nzzz = 3\n").ends_with("known are listen"));
    }

    #[test]
    fn broken_toml_has_a_place() {
        assert!(
            complaint("[log]\npath = \n").starts_with("o.toml:2:8: "),
            "{}",
            complaint("[log]\npath = \n")
        );
    }
}
