//! Seeded runs over the whole: writers on the source, and over them kills of the sidecar at its crash points and anywhere else,
//! links cut at a random byte, servers restarted. At the end of each, every transaction of the source's binlog stands in the
//! log exactly once, in order, byte by byte (C2), and source and target are equal in rows and definitions (A1, A2, A6).
//!
//! `make soak` makes many (`RUNS`, `JOBS`); one seed again: `make soak RUNS=1 OUTRIGGER_SEED=…`. With `OUTRIGGER_KEEP=1` a
//! failed run leaves its folder: servers' data, log, configuration.

#![expect(clippy::print_stdout, reason = "a line for every run")]

mod binlog;
mod judge;
mod pair;
mod plan;
mod relay;
mod run;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use pair::Pair;
use run::Report;

/// Seeds that every run of the tests tries; each was chosen for the faults it draws.
const ALWAYS: [u64; 3] = [1, 2, 3];

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is {text:?}: give it a number"))
        })
}

#[test]
fn a_few_seeds() {
    let seeds = match number("OUTRIGGER_SEED") {
        Some(seed) => vec![seed],
        None => ALWAYS.into_iter().chain([rand::random()]).collect(),
    };
    soak(seeds, 2);
}

#[test]
#[ignore = "takes long: make soak"]
fn many_seeds() {
    let runs = number("RUNS").unwrap_or(200);
    let first = number("OUTRIGGER_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let jobs = number("JOBS").map_or(cores, |jobs| usize::try_from(jobs).unwrap_or(cores));
    println!("{runs} runs from seed {first}, {jobs} at a time");
    soak((0..runs).map(|n| first.wrapping_add(n)).collect(), jobs);
}

/// Runs the seeds, `jobs` at a time, and fails if any of them did.
fn soak(seeds: Vec<u64>, jobs: usize) {
    let began = Instant::now();
    let queue = Mutex::new(VecDeque::from(seeds));
    let results: Mutex<Vec<(u64, Result<Report>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                // The worker's own thread may block (for a server's start); its connections and relays run on others.
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(work(&queue, &results));
            });
        }
    });
    let results = results.into_inner().unwrap();
    let failed = summary(&results, began);
    assert!(
        failed.is_empty(),
        "failed seeds: {failed:?}; one again: make soak RUNS=1 OUTRIGGER_SEED={}",
        failed[0]
    );
}

/// Takes seeds from the queue until there are none, on servers of its own.
async fn work(queue: &Mutex<VecDeque<u64>>, results: &Mutex<Vec<(u64, Result<Report>)>>) {
    let mut pair: Option<Pair> = None;
    loop {
        let Some(seed) = queue.lock().unwrap().pop_front() else {
            return;
        };
        let began = Instant::now();
        let outcome = one(seed, &mut pair).await;
        tell(seed, &outcome, began);
        if !outcome.as_ref().is_ok_and(Report::good) {
            // Whatever happened to these servers, the next seed gets new ones.
            if let Some(pair) = pair.take()
                && std::env::var_os("OUTRIGGER_KEEP").is_some_and(|keep| !keep.is_empty())
            {
                println!("  kept: {}", pair.folder.keep().display());
            }
        }
        results.lock().unwrap().push((seed, outcome));
    }
}

async fn one(seed: u64, slot: &mut Option<Pair>) -> Result<Report> {
    let pair = match slot {
        Some(pair) => pair,
        None => slot.insert(Pair::start().await?),
    };
    let folder = pair.path().join(format!("run-{seed}"));
    let report = run::run(seed, pair, &folder).await?;
    if report.good() {
        // A read ahead may still hold the log open; then all goes with the servers' folder.
        drop(std::fs::remove_dir_all(&folder));
    }
    Ok(report)
}

/// A line for a run; all that is known if it failed.
fn tell(seed: u64, outcome: &Result<Report>, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            println!("seed {seed}: could not be run, {seconds:.1} s: {error:#}");
            return;
        }
    };
    let word = if report.good() { "ok" } else { "FAILED" };
    println!(
        "seed {seed}: {word}, {seconds:.1} s, {} transactions of {} works, {} crash points, {} kills, {} cuts, {} source and {} target restarts",
        report.transactions,
        report.tally.done,
        report.crashes,
        report.kills,
        report.cuts,
        report.source_restarts,
        report.target_restarts
    );
    if !report.missed.is_empty() {
        println!(
            "  not reached in time, killed instead: {}",
            report.missed.join(", ")
        );
    }
    if report.good() {
        return;
    }
    let plan = plan::Plan::new(seed);
    println!(
        "  {:?}, {:?}, writers first: {}",
        plan.shape, plan.settings, plan.writers_first
    );
    if let Some(crash) = plan.first_start {
        println!("  first start with {}", crash.failpoint());
    }
    for step in plan.faults {
        println!("  after {} ms: {}", step.after.as_millis(), step.fault);
    }
    let findings = &report.findings;
    println!("  answers to the workload: {:?}", report.tally.refused);
    println!("  lost: {:?}\n  doubled: {:?}", findings.lost, findings.doubled);
    for wrong in findings.wrong.iter().chain(&report.wrong) {
        println!("  {wrong}");
    }
    println!("  again: make soak RUNS=1 OUTRIGGER_SEED={seed}");
}

/// Prints what all runs came to; the seeds that failed.
fn summary(results: &[(u64, Result<Report>)], began: Instant) -> Vec<u64> {
    let reports: Vec<&Report> = results
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().ok())
        .collect();
    let sum = |count: fn(&Report) -> u64| -> u64 { reports.iter().map(|report| count(report)).sum() };
    let transactions: usize = reports.iter().map(|report| report.transactions).sum();
    let lost: usize = reports.iter().map(|report| report.findings.lost.len()).sum();
    let doubled: usize = reports.iter().map(|report| report.findings.doubled.len()).sum();
    let failed = results
        .iter()
        .filter(|(_, outcome)| !outcome.as_ref().is_ok_and(Report::good));
    let failed: Vec<u64> = failed.map(|(seed, _)| *seed).collect();
    println!(
        "{} runs, {transactions} transactions, {lost} lost, {doubled} doubled, {} runs failed; {} crash points, {} kills, {} cuts, \
         {} source and {} target restarts; {:.0} s",
        results.len(),
        failed.len(),
        sum(|report| report.crashes),
        sum(|report| report.kills),
        sum(|report| report.cuts),
        sum(|report| report.source_restarts),
        sum(|report| report.target_restarts),
        began.elapsed().as_secs_f64()
    );
    failed
}
