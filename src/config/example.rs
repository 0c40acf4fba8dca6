//! The complete, commented example, written from the schema.

use super::schema::{Kind, SECTIONS, Section, Value};

const HEAD: &str = "\
# Outrigger's configuration. Every key is here. Keys that start a line must be given; those behind a # show their default
# (or, where it says so, an example). Sizes are written \"20 GiB\", durations \"30s\", \"720m\". Relative
# paths begin in this file's folder.
# Check a file with: outrigger config check FILE
";

/// The example file. With `everything`, no key is commented out.
pub(super) fn render(everything: bool) -> String {
    SECTIONS.iter().fold(HEAD.to_owned(), |mut text, section| {
        text.push('\n');
        text.push_str(&render_section(section, everything));
        text
    })
}

fn render_section(section: &Section, everything: bool) -> String {
    let mut text = comment(section.about);
    text.push_str(&match section.kind {
        Kind::Repeated => format!("[[{}]]\n", section.name),
        _ => format!("[{}]\n", section.name),
    });
    for key in section.keys {
        let (hash, value, note) = match key.value {
            Value::Required(sample) => ("", sample, ""),
            Value::Default(default) => ("#", default, ""),
            Value::Unset(sample) => ("#", sample, " An example; not set by default."),
        };
        // An unset key may exclude others (`socket` and `host`), so it is never made active.
        let hash = if everything && matches!(key.value, Value::Default(_)) {
            ""
        } else {
            hash
        };
        text.push('\n');
        text.push_str(&comment(key.meaning));
        text.push_str(&comment(&format!("Accepted: {}.{note}", key.bounds)));
        text.push_str(&format!("{hash}{} = {value}\n", key.name));
    }
    text
}

fn comment(lines: &str) -> String {
    lines.lines().map(|line| format!("# {line}\n")).collect()
}
