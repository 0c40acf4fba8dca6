//! The status document for people: aligned, units spelled out, errors last and whole.

use std::time::Duration;

use bytesize::ByteSize;

use super::document::{Document, GuardPart, LimitsPart, Phase, ProxyPart, TablePart, TaskPart};

/// Tables shown per task that are still being copied; the rest is counted in a line.
const TABLES_SHOWN: usize = 20;

/// The document as text, ending in a line break.
pub fn render(document: &Document) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "outrigger {}, up {}, {} resident",
            document.version,
            seconds(document.uptime_seconds),
            bytes(document.resident_bytes)
        ),
    );
    let source = &document.source;
    let version = source
        .server_version
        .as_deref()
        .map(|v| format!(" (MySQL {v})"))
        .unwrap_or_default();
    line(
        &mut out,
        &format!("source  {}{version}: {}", source.address, phase(&source.phase)),
    );
    if let Some(file) = &source.file {
        line(
            &mut out,
            &format!(
                "        read up to {file}, {}/s, {} transactions/s",
                rate_bytes(source.bytes_per_second),
                rate(source.transactions_per_second)
            ),
        );
    }
    if let Some(gtids) = &source.gtids {
        line(&mut out, &format!("        GTIDs {}", shorten(gtids)));
    }
    why(&mut out, "        ", &source.phase);
    let log = &document.log;
    let held = if log.first > log.last {
        "no transactions".to_owned()
    } else {
        format!("transactions {} to {}", number(log.first), number(log.last))
    };
    let full = match (log.paused, log.overdue) {
        (true, true) => ", full by age",
        (true, false) => ", full",
        (false, _) => "",
    };
    line(
        &mut out,
        &format!(
            "log     {}: {held}, {} of {}{full}",
            log.path,
            bytes(log.bytes),
            bytes(log.quota)
        ),
    );
    for found in &log.found {
        line(&mut out, &format!("        found when opened: {found}"));
    }
    let said = |held: &String| source.phase.why.as_ref().is_some_and(|why| why.contains(held));
    if let Some(held) = log.held.as_ref().filter(|held| !said(held)) {
        line(&mut out, &format!("        {held}"));
    }
    if log.phase.is_trouble() {
        line(&mut out, &format!("        {}", phase(&log.phase)));
    }
    why(&mut out, "        ", &log.phase);
    match &document.proxy {
        None => line(&mut out, "proxy   none"),
        Some(proxy) => render_proxy(&mut out, proxy),
    }
    for task in &document.tasks {
        out.push('\n');
        render_task(&mut out, task);
    }
    out
}

fn render_proxy(out: &mut String, proxy: &ProxyPart) {
    line(
        out,
        &format!("proxy   {}: {}", proxy.listen.join(", "), phase(&proxy.phase)),
    );
    why(out, "        ", &proxy.phase);
    let traffic = &proxy.traffic;
    line(
        out,
        &format!(
            "        {} connected, {} in a transaction; {} commands/s; {} commands, {} errors",
            traffic.connections,
            traffic.in_transaction,
            rate(traffic.commands_per_second),
            number(traffic.commands),
            number(traffic.errors)
        ),
    );
    for GuardPart {
        rule,
        refused,
        warned,
    } in &proxy.guard
    {
        let (refused, warned) = (number(*refused), number(*warned));
        line(
            out,
            &format!("        guard {rule}: {refused} refused, {warned} warned of"),
        );
    }
}

fn render_task(out: &mut String, task: &TaskPart) {
    line(
        out,
        &format!("task {} -> {}: {}", task.name, task.target, phase(&task.phase)),
    );
    why(out, "  ", &task.phase);
    render_tables(out, task);
    line(
        out,
        &format!(
            "  behind    {}, {} transactions, about {} of log",
            seconds(task.delay_seconds),
            number(task.transactions_behind),
            bytes(task.log_bytes_behind)
        ),
    );
    line(
        out,
        &format!(
            "  applying  {} rows/s, {} transactions/s",
            rate(task.rows_per_second),
            rate(task.transactions_per_second)
        ),
    );
    line(
        out,
        &format!(
            "  applied   {} inserts, {} updates, {} deletes, {} DDL in {} transactions as {}, {} retries",
            number(task.rows_inserted),
            number(task.rows_updated),
            number(task.rows_deleted),
            number(task.ddl),
            number(task.transactions),
            number(task.groups),
            number(task.retries)
        ),
    );
    let limits = limits(&task.limits);
    if !limits.is_empty() {
        line(out, &format!("  limits    {}", limits.join(", ")));
    }
    let divergences = &task.divergences;
    if let Some(last) = &divergences.last {
        let (rows, kind) = (number(divergences.rows), last.kind.replace('_', " "));
        line(
            out,
            &format!(
                "  diverged  {rows} rows, the last in {} ({kind}) at {}, {}",
                last.table, last.place, last.at
            ),
        );
    }
    let position = task
        .position
        .as_deref()
        .map(shorten)
        .unwrap_or_else(|| "none yet".to_owned());
    line(
        out,
        &format!("  position  {position}, offset {}", number(task.offset)),
    );
}

fn limits(limits: &LimitsPart) -> Vec<String> {
    let mut parts = Vec::new();
    if limits.rows_per_second > 0 {
        parts.push(format!("{} rows/s", number(limits.rows_per_second)));
    }
    if limits.bytes_per_second > 0 {
        parts.push(format!("{}/s", bytes(limits.bytes_per_second)));
    }
    if limits.max_latency_seconds > 0.0 {
        parts.push(format!(
            "{} of {} lanes (fewer while commits take longer than {} s)",
            limits.lanes_now, limits.lanes, limits.max_latency_seconds
        ));
    }
    parts
}

/// The copy by table while it lasts, one line about it afterwards.
fn render_tables(out: &mut String, task: &TaskPart) {
    if task.tables.is_empty() {
        return;
    }
    let done: Vec<&TablePart> = task.tables.iter().filter(|table| table.done).collect();
    let mut open: Vec<&TablePart> = task.tables.iter().filter(|table| !table.done).collect();
    let rows: u64 = done.iter().map(|table| table.rows_copied).sum();
    let size: u64 = done.iter().map(|table| table.bytes_copied).sum();
    line(
        out,
        &format!(
            "  copied    {} of {} tables, {} rows, {}",
            done.len(),
            task.tables.len(),
            number(rows),
            bytes(size)
        ),
    );
    if open.is_empty() {
        return;
    }
    // Those under way come first.
    open.sort_by_key(|table| {
        (
            table.rows_copied == 0,
            table.database.clone(),
            table.table.clone(),
        )
    });
    line(
        out,
        &format!("  copying   {} rows/s", rate(task.copied_rows_per_second)),
    );
    let mut cells = vec![["table", "rows", "of about", "done", "rows/s", "left"].map(str::to_owned)];
    cells.extend(open.iter().take(TABLES_SHOWN).map(|table| cells_of(table)));
    for row in &cells {
        let mut text = "   ".to_owned();
        for (column, cell) in row.iter().enumerate() {
            let width = cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0);
            // The name stands left, numbers right.
            text.push_str(&match column {
                0 => format!(" {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        }
        line(out, &text);
    }
    if open.len() > TABLES_SHOWN {
        line(out, &format!("    and {} more", open.len() - TABLES_SHOWN));
    }
}

fn cells_of(table: &TablePart) -> [String; 6] {
    let percent = if table.rows_estimated == 0 {
        String::new()
    } else {
        let copied = table.rows_copied.min(table.rows_estimated);
        format!(
            "{} %",
            u128::from(copied) * 100 / u128::from(table.rows_estimated)
        )
    };
    [
        format!("{}.{}", table.database, table.table),
        number(table.rows_copied),
        number(table.rows_estimated),
        percent,
        rate(table.rows_per_second),
        table.seconds_left.map(seconds).unwrap_or_default(),
    ]
}

fn phase(phase: &Phase) -> String {
    let mut text = phase.state.replace('_', " ");
    if let Some(elapsed) = phase.for_seconds {
        text.push_str(&format!(" for {}", seconds(elapsed)));
    }
    match phase.next_try_in_seconds {
        None => {}
        Some(left) if left > 0.0 => text.push_str(&format!(", next try in {}", seconds(left))),
        Some(_) => text.push_str(", trying now"),
    }
    if let Some(left) = phase.gives_up_in_seconds {
        text.push_str(&format!(", gives up in {}", seconds(left)));
    }
    text
}

fn why(out: &mut String, indent: &str, phase: &Phase) {
    if let Some(why) = &phase.why {
        line(out, &format!("{indent}{why}"));
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// `1,234,567`
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whole numbers from ten on, one digit below.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        return format!("{per_second:.1}");
    }
    number(format!("{per_second:.0}").parse().unwrap_or(0))
}

fn rate_bytes(per_second: f64) -> String {
    bytes(format!("{per_second:.0}").parse().unwrap_or(0))
}

pub(super) fn bytes(count: u64) -> String {
    ByteSize::b(count).display().iec().to_string()
}

/// `0.3 s`, `42 s`, `2m 13s`.
pub(super) fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "?".to_owned();
    }
    if value == 0.0 {
        return "0 s".to_owned();
    }
    if value < 10.0 {
        return format!("{value:.1} s");
    }
    if value < 60.0 {
        return format!("{value:.0} s");
    }
    Duration::try_from_secs_f64(value.floor())
        .map_or_else(|_| "?".to_owned(), |d| humantime::format_duration(d).to_string())
}

/// A GTID set can be very long; the end says the least.
fn shorten(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((cut, _)) => format!(
            "{}… ({} characters; all with --json)",
            &text[..cut],
            text.chars().count()
        ),
    }
}

#[cfg(test)]
mod tests;
