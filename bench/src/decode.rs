//! Rows events into typed values, beside `mysql_common`'s `BinlogRow`, on the same bytes of a real server; timed by criterion.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use criterion::Criterion;
use mysql_common::Value;
use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{EventData, RowsEventData, TableMapEvent};
use outrigger_protocol::binlog::rows::RowPlan;
use outrigger_protocol::binlog::{Body, ChecksumAlg, Event, EventHeader, FILE_MAGIC, RowsEvent, RowsKind};

use crate::bar::{self, Figure};

/// Rows of MySQL 9.7.4, full images; `rows.sql` beside it made them.
const FILE: &[u8] = include_bytes!("../../protocol/tests/fixtures/rows.binlog");

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// A kind of rows.
struct Shape {
    figure: &'static str,
    table: &'static str,
    kind: RowsKind,
    peer: Peer,
}

/// What the peer does with a row.
#[derive(Clone, Copy, PartialEq)]
enum Peer {
    /// No more than a `BinlogRow`; that leaves JSON as it is stored.
    Row,
    /// Each value becomes a `Value`: JSON is read and becomes text, as ours does in any case.
    Values,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Row => "BinlogRow",
            Self::Values => "BinlogRow+Value",
        }
    }
}

const SHAPES: [Shape; 7] = [
    shape("decode_sysbench", "sbtest", RowsKind::Insert, Peer::Row),
    shape("decode_sysbench_update", "sbtest", RowsKind::Update, Peer::Row),
    shape("decode_1k", "kilobyte", RowsKind::Insert, Peer::Row),
    shape("decode_wide", "wide", RowsKind::Insert, Peer::Row),
    shape("decode_wide_update", "wide", RowsKind::Update, Peer::Row),
    shape("decode_json", "orders", RowsKind::Insert, Peer::Values),
    shape("decode_json_unread", "orders", RowsKind::Insert, Peer::Row),
];

const fn shape(figure: &'static str, table: &'static str, kind: RowsKind, peer: Peer) -> Shape {
    Shape {
        figure,
        table,
        kind,
        peer,
    }
}

/// One rows event, ready to be decoded by either.
struct Sample {
    table: String,
    event: RowsEvent<'static>,
    plan: RowPlan,
    peer_event: RowsEventData<'static>,
    peer_map: TableMapEvent<'static>,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    let samples = samples()?;
    let (rounds, time) = match flags.quick {
        true => (3, Duration::from_millis(100)),
        false => (flags.rounds, Duration::from_millis(700)),
    };
    let folder = tempfile::tempdir()?;
    let mut criterion = Criterion::default()
        .output_directory(folder.path())
        .without_plots()
        .sample_size(20)
        .nresamples(2000)
        .warm_up_time(time / 4)
        .measurement_time(time);
    for shape in &SHAPES {
        let chosen: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.table == shape.table && sample.event.kind == shape.kind)
            .collect();
        let rows = ours(&chosen)?;
        ensure!(
            rows > 0 && rows == theirs(&chosen, shape.peer)?,
            "the two find different numbers of rows in {}",
            shape.figure
        );
        let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for turn in 0..2 {
                let ours_first = round % 2 == 0;
                let is_ours = (turn == 0) == ours_first;
                let name = format!(
                    "{}-{}-{round}",
                    shape.figure,
                    if is_ours { "ours" } else { "peer" }
                );
                criterion.bench_function(&name, |bencher| match is_ours {
                    true => bencher.iter(|| black_box(ours(&chosen).is_ok())),
                    false => bencher.iter(|| black_box(theirs(&chosen, shape.peer).is_ok())),
                });
                let rate = count(rows) * 1e9 / median_nanoseconds(folder.path(), &name)?;
                if is_ours { &mut our_rates } else { &mut their_rates }.push(rate);
            }
        }
        let figure = Figure {
            name: shape.figure,
            unit: "rows/s",
        };
        bar::print(figure, &our_rates, shape.peer.name(), &their_rates)?;
    }
    Ok(())
}

/// The fixture's rows events, with what each of the two needs to know about their tables.
fn samples() -> Result<Vec<Sample>> {
    let mut peers = Vec::new();
    let mut peer_maps = HashMap::new();
    for event in BinlogFile::new(BinlogVersion::Version4, FILE)? {
        match event?.read_data()? {
            Some(EventData::TableMapEvent(map)) => {
                peer_maps.insert(map.table_id(), map.into_owned());
            }
            Some(EventData::RowsEvent(rows)) => peers.push(rows.into_owned()),
            _ => {}
        }
    }
    let mut peers = peers.into_iter();
    let (mut samples, mut maps) = (Vec::new(), HashMap::new());
    let mut rest = FILE
        .strip_prefix(&FILE_MAGIC)
        .context("the fixture is no binlog file")?;
    while !rest.is_empty() {
        let size = usize::try_from(EventHeader::parse(rest)?.size)?;
        let (event, after) = rest.split_at_checked(size).context("the fixture is cut off")?;
        rest = after;
        match Event::parse(event, ChecksumAlg::Crc32)?.body {
            Body::TableMap(map) => {
                maps.insert(map.table_id, map);
            }
            Body::Rows(event) => {
                let map = maps
                    .get(&event.table_id)
                    .context("a rows event without its table map")?;
                let peer_map = peer_maps.get(&event.table_id).cloned();
                samples.push(Sample {
                    table: map.table.clone(),
                    event,
                    plan: RowPlan::new(map, &[])?,
                    peer_event: peers.next().context("the peer found fewer rows events")?,
                    peer_map: peer_map.context("the peer did not find a table map")?,
                });
            }
            _ => {}
        }
    }
    Ok(samples)
}

/// Decodes all rows of some events; how many there are.
fn ours(samples: &[&Sample]) -> Result<usize> {
    let mut count = 0;
    for sample in samples {
        let mut rows = sample.plan.rows(&sample.event);
        while let Some(images) = rows.read()? {
            black_box(images);
            count += 1;
        }
    }
    Ok(count)
}

/// The same by the peer.
fn theirs(samples: &[&Sample], peer: Peer) -> Result<usize> {
    let mut count = 0;
    for sample in samples {
        for images in sample.peer_event.rows(&sample.peer_map) {
            let (before, after) = images?;
            match peer {
                Peer::Row => drop(black_box((before, after))),
                Peer::Values => {
                    for value in [before, after].into_iter().flatten().flat_map(|row| row.unwrap()) {
                        black_box(Value::try_from(value)?);
                    }
                }
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Criterion's median of one benchmark, from the file that it leaves.
pub(crate) fn median_nanoseconds(folder: &Path, name: &str) -> Result<f64> {
    let path = folder.join(name).join("new/estimates.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let estimates: serde_json::Value = serde_json::from_slice(&text)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .ok_or_else(|| anyhow!("{} holds no median", path.display()))
}

/// A number of rows as a figure; there are a few dozen.
fn count(rows: usize) -> f64 {
    u32::try_from(rows).map_or(f64::NAN, f64::from)
}
