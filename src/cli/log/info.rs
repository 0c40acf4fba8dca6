//! `outrigger log info`: what a log holds.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::Args;
use outrigger_protocol::position::SourcePosition;
use outrigger_storage::{Begin, Info, Offset, View};
use serde::Serialize;

use super::{Place, Which, print_json};
use crate::cli::print;

/// Which log.
#[derive(Debug, Args)]
pub(in crate::cli) struct InfoArgs {
    #[command(flatten)]
    which: Which,
}

/// The answer, as `--json` prints it. Fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Answer {
    path: PathBuf,
    id: String,
    format: u32,
    /// The first and the last offset kept; absent when the log holds nothing.
    first: Option<u64>,
    last: Option<u64>,
    transactions: u64,
    bytes: u64,
    /// Absent when only the folder was named and no process was asked.
    quota: Option<u64>,
    paused: Option<bool>,
    /// Where the first transaction kept begins.
    start: Option<Start>,
    /// The place after the last transaction, or where capture is to begin.
    end: Option<End>,
    oldest_commit: Option<String>,
    newest_commit: Option<String>,
    in_use: Option<InUse>,
    /// Absent when nobody says; `readers_unknown` then says why.
    readers: Option<Vec<Reader>>,
    readers_unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct Start {
    file: String,
    gtid: Option<String>,
}

#[derive(Debug, Serialize)]
struct End {
    file: String,
    gtids: Option<String>,
}

#[derive(Debug, Serialize)]
struct InUse {
    pid: Option<u32>,
    host: Option<String>,
    since: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reader {
    task: String,
    state: String,
    /// The last offset applied.
    applied: u64,
    /// Transactions in the log that are not.
    behind: u64,
}

pub(super) fn info(args: &InfoArgs) -> anyhow::Result<()> {
    let place = args.which.place()?;
    let mut view = View::open(place.path())?;
    let answer = answer(&mut view, &place)?;
    if args.which.json {
        return print_json(&answer);
    }
    print(&render(&answer))
}

fn answer(view: &mut View, place: &Place) -> anyhow::Result<Answer> {
    let info = view.info()?;
    let kept = info.first <= info.last;
    let oldest = first_begin(view, info.first)?;
    let newest = first_begin(view, info.last)?;
    let asked = place.ask(&info);
    let running = asked.as_ref().ok().map(|(_, document)| document);
    let quota = running.map(|document| document.log.quota);
    Ok(Answer {
        path: view.path().to_path_buf(),
        id: info.id.to_string(),
        format: info.format,
        first: kept.then_some(info.first.0),
        last: kept.then_some(info.last.0),
        transactions: (info.last.0 + 1).saturating_sub(info.first.0),
        bytes: info.bytes.0,
        quota: quota.or_else(|| place.configured.then_some(place.config.quota.0)),
        paused: running.map(|document| document.log.paused),
        start: oldest.as_ref().map(|begin| Start {
            file: begin.start.to_string(),
            gtid: begin.gtid.as_ref().map(ToString::to_string),
        }),
        end: end(&info),
        oldest_commit: oldest.as_ref().map(commit_time),
        newest_commit: newest.as_ref().map(commit_time),
        in_use: info.in_use.as_ref().map(|holder| InUse {
            pid: holder.pid,
            host: holder.host.clone(),
            since: holder
                .since
                .map(|since| humantime::format_rfc3339_seconds(since).to_string()),
        }),
        readers: running.map(|document| {
            let tasks = document.tasks.iter().map(|task| Reader {
                task: task.name.clone(),
                state: task.phase.state.clone(),
                applied: task.offset,
                behind: task.transactions_behind,
            });
            tasks.collect()
        }),
        readers_unknown: asked.err().map(|error| format!("{error:#}")),
    })
}

/// What is known of the first transaction from `offset` on; `None` if there is none.
fn first_begin(view: &mut View, offset: Offset) -> anyhow::Result<Option<Begin>> {
    let record = view.records(offset).next().transpose()?;
    Ok(record.and_then(|record| record.begin))
}

fn end(info: &Info) -> Option<End> {
    let SourcePosition { gtids, file } = info.position.as_ref()?;
    Some(End {
        file: file.to_string(),
        gtids: gtids.as_ref().map(ToString::to_string),
    })
}

fn commit_time(begin: &Begin) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(begin.commit_micros));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_micros(time).to_string()
}

fn render(answer: &Answer) -> String {
    let mut lines = vec![format!(
        "log      {} (id {}, format {})",
        answer.path.display(),
        answer.id,
        answer.format
    )];
    let mut line = |name: &str, text: String| lines.push(format!("{name:<8} {text}"));
    match (answer.first, answer.last) {
        (Some(first), Some(last)) => {
            line(
                "holds",
                format!("offsets {first} to {last}, {} transactions", answer.transactions),
            );
        }
        _ => line("holds", "no transactions".to_owned()),
    }
    let quota = match answer.quota {
        Some(quota) => format!(" of {}", ByteSize(quota)),
        None => String::new(),
    };
    let full = if answer.paused == Some(true) {
        ", full: capture waits"
    } else {
        ""
    };
    line("takes", format!("{}{quota}{full}", ByteSize(answer.bytes)));
    if let Some(start) = &answer.start {
        let gtid = start
            .gtid
            .as_ref()
            .map(|gtid| format!(", GTID {gtid}"))
            .unwrap_or_default();
        line("begins", format!("{}{gtid}", start.file));
    }
    if let Some(end) = &answer.end {
        line("ends", format!("before {}", end.file));
        if let Some(gtids) = &end.gtids {
            line("GTIDs", gtids.clone());
        }
    }
    if let Some((oldest, newest)) = answer.oldest_commit.as_ref().zip(answer.newest_commit.as_ref()) {
        line("commits", format!("{oldest} to {newest}"));
    }
    match &answer.in_use {
        None => line("in use", "by nobody".to_owned()),
        Some(InUse { pid, host, since }) => {
            let pid = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            let host = host
                .as_ref()
                .map(|host| format!(" on {host}"))
                .unwrap_or_default();
            let since = since
                .as_ref()
                .map(|since| format!(", since {since}"))
                .unwrap_or_default();
            line("in use", format!("by {pid}{host}{since}"));
        }
    }
    for reader in answer.readers.iter().flatten() {
        let Reader {
            task,
            state,
            applied,
            behind,
        } = reader;
        line(
            "reader",
            format!("task {task} is {state}, has applied offset {applied}, {behind} behind"),
        );
    }
    if let Some(why) = &answer.readers_unknown {
        line("readers", format!("unknown: {why}"));
    }
    lines.join("\n") + "\n"
}
