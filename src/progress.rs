//! Progress bars while rows are copied, for `run` on a terminal. A bar per task: its tables share it.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::status::{Document, TaskPart};

/// The bars on screen.
#[derive(Debug)]
pub struct Bars {
    screen: MultiProgress,
    open: HashMap<String, ProgressBar>,
}

impl Bars {
    /// No bars yet; drawn through `screen`, which hides everything when there is no terminal.
    pub fn new(screen: MultiProgress) -> Self {
        Self {
            screen,
            open: HashMap::new(),
        }
    }

    /// Brings the bars in line with the status: one for each task that copies, none for the others.
    pub fn show(&mut self, document: &Document) {
        for task in &document.tasks {
            if task.phase.state == "copying_rows" {
                let bar = self
                    .open
                    .entry(task.name.clone())
                    .or_insert_with(|| self.screen.add(bar(&task.name)));
                let (copied, estimated) = rows(task);
                bar.set_length(estimated);
                bar.set_position(copied);
                bar.set_message(message(task));
            } else if let Some(bar) = self.open.remove(&task.name) {
                bar.finish_and_clear();
            }
        }
    }
}

/// Rows copied, and the estimate of all, which is never below what was copied already.
fn rows(task: &TaskPart) -> (u64, u64) {
    task.tables.iter().fold((0, 0), |(copied, estimated), table| {
        let whole = if table.done {
            table.rows_copied
        } else {
            table.rows_estimated.max(table.rows_copied)
        };
        (copied + table.rows_copied, estimated + whole)
    })
}

fn message(task: &TaskPart) -> String {
    let done = task.tables.iter().filter(|table| table.done).count();
    let current = task
        .tables
        .iter()
        .find(|table| !table.done && table.rows_copied > 0);
    let name = current
        .map(|table| format!(", {}.{}", table.database, table.table))
        .unwrap_or_default();
    format!(
        "{}{:.0} rows/s, {done} of {} tables{name}",
        left(task),
        task.copied_rows_per_second,
        task.tables.len()
    )
}

/// The time left at the rate that is shown; the bar's own guess knows only how often it was drawn.
fn left(task: &TaskPart) -> String {
    let (copied, estimated) = rows(task);
    let rest = u32::try_from(estimated.saturating_sub(copied)).unwrap_or(u32::MAX);
    let seconds = f64::from(rest) / task.copied_rows_per_second;
    match Duration::try_from_secs_f64(seconds) {
        Ok(left) => format!("{} left, ", HumanDuration(left)),
        // Nothing was copied yet.
        Err(_infinite) => String::new(),
    }
}

fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {human_pos}/{human_len} rows, {msg}")
        .map_or_else(
            |_| ProgressStyle::default_bar(),
            |style| style.progress_chars("=> "),
        );
    ProgressBar::new(0)
        .with_style(style)
        .with_prefix(format!("copying {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(
            ProgressStyle::with_template("{prefix} [{bar:30}] {human_pos}/{human_len} rows, {msg}").is_ok()
        );
    }
}
