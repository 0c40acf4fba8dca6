//! Running decoders on mutated inputs, for a while: what is new joins the pool, what is wrong is kept and told.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use crate::corpus::{self, Corpus};
use crate::mutator::{self, Mutator};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Inputs per decoder where no time is given.
const SHORT_RUN: u64 = 4_000;

/// Behaviours are told apart by so many bits, and so many inputs kept: memory stays bounded however long the run is.
const BEHAVIOURS: u64 = (1 << 17) - 1;
const POOL: usize = 20_000;

/// One input may take this long; the slowest real one takes milliseconds.
const TOO_LONG: Duration = Duration::from_secs(20);

/// One decoder.
pub(crate) struct Decoder {
    pub(crate) name: &'static str,
    /// Inputs that are right.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Decodes, asserts what must hold, and answers with a number for what happened.
    pub(crate) run: fn(&[u8]) -> u64,
    /// Pieces that mutations put in.
    pub(crate) words: &'static [&'static [u8]],
    /// The most memory for an input of so many bytes.
    pub(crate) memory: fn(usize) -> usize,
}

/// What one decoder's runs came to.
#[derive(Default)]
struct Tally {
    runs: u64,
    slowest: Duration,
    /// The highest peak of the heap, beyond what was there before.
    largest: usize,
    findings: Vec<String>,
}

/// One decoder under attack.
struct Campaign {
    decoder: &'static Decoder,
    corpus: Corpus,
    pool: Vec<Vec<u8>>,
    seen: HashSet<u64>,
    mutator: Mutator,
    tally: Tally,
}

impl Campaign {
    fn new(decoder: &'static Decoder, seed: u64) -> Self {
        let corpus = Corpus::open(decoder.name);
        let mut campaign = Self {
            decoder,
            mutator: Mutator::new(seed, decoder.words),
            pool: Vec::new(),
            seen: HashSet::new(),
            tally: Tally::default(),
            corpus,
        };
        for seed in (decoder.seeds)() {
            campaign.attempt(&seed, false);
            campaign.pool.push(seed);
        }
        for input in campaign.corpus.inputs().to_vec() {
            campaign.attempt(&input, false);
            campaign.pool.push(input);
        }
        campaign
    }

    /// One mutated input.
    fn step(&mut self) {
        let input = self.mutator.mutate(&self.pool);
        self.attempt(&input, true);
    }

    /// Runs the decoder on `input`, keeps what is new (`keep`) or wrong.
    fn attempt(&mut self, input: &[u8], keep: bool) {
        corpus::note(input);
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let start = Instant::now();
        TRYING.store(true, Ordering::Relaxed);
        let panics = PANICS.load(Ordering::Relaxed);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (self.decoder.run)(input)));
        TRYING.store(false, Ordering::Relaxed);
        let (took, used) = (start.elapsed(), MEMORY.peak_usage().saturating_sub(before));
        self.tally.runs += 1;
        self.tally.slowest = self.tally.slowest.max(took);
        self.tally.largest = self.tally.largest.max(used);
        let allowed = (self.decoder.memory)(input.len());
        let finding = match outcome {
            // Also one that a task of its own has caught.
            _ if PANICS.load(Ordering::Relaxed) > panics => Some(format!("panicked: {}", last_panic())),
            Err(_) => Some(format!("panicked: {}", last_panic())),
            Ok(_) if used > allowed => Some(format!(
                "took {used} bytes of memory for an input of {}",
                input.len()
            )),
            Ok(_) if took > TOO_LONG => Some(format!("took {took:?} for an input of {} bytes", input.len())),
            Ok(signature) => {
                if self.seen.insert(signature & BEHAVIOURS) && keep {
                    if self.pool.len() < POOL {
                        self.pool.push(input.to_vec());
                    } else {
                        let place = self.mutator.below(POOL);
                        self.pool[place] = input.to_vec();
                    }
                    self.corpus.discovered(input);
                }
                None
            }
        };
        if let Some(finding) = finding {
            self.corpus.keep(input);
            if !self.tally.findings.contains(&finding) {
                self.tally.findings.push(finding);
            }
        }
    }

    fn report(&self) -> String {
        let Tally {
            runs,
            slowest,
            largest,
            findings,
        } = &self.tally;
        format!(
            "{:>8}: {runs} executions, {} behaviours, slowest {slowest:?}, at most {largest} bytes of heap, {} findings",
            self.decoder.name,
            self.seen.len(),
            findings.len()
        )
    }
}

/// Whether an input is being tried: its panic is noted, any other is reported as usual.
static TRYING: AtomicBool = AtomicBool::new(false);
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());
static PANICS: AtomicU64 = AtomicU64::new(0);

fn last_panic() -> String {
    LAST_PANIC.lock().unwrap().clone()
}

/// Tries all of `decoders`, for a short while or as long as the environment says, and fails with what was found.
pub(crate) fn run(decoders: &'static [Decoder]) {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let seconds = variable("OUTRIGGER_FUZZ_SECONDS").map(|text| text.parse().unwrap());
    let only = variable("OUTRIGGER_FUZZ_DECODER");
    let seed = match variable("OUTRIGGER_SEED") {
        Some(text) => text.parse().unwrap(),
        None => u64::from(std::process::id()) ^ mutator::clock(),
    };
    eprintln!("OUTRIGGER_SEED={seed}");
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        *LAST_PANIC.lock().unwrap() = info.to_string();
        PANICS.fetch_add(1, Ordering::Relaxed);
        if !TRYING.load(Ordering::Relaxed) {
            usual(info);
        }
    }));
    let mut campaigns: Vec<Campaign> = decoders
        .iter()
        .filter(|decoder| only.as_deref().is_none_or(|name| name == decoder.name))
        .map(|decoder| Campaign::new(decoder, seed))
        .collect();
    match seconds {
        None => {
            for campaign in &mut campaigns {
                (0..SHORT_RUN).for_each(|_| campaign.step());
            }
        }
        Some(seconds) => run_for(Duration::from_secs(seconds), &mut campaigns),
    }
    let mut findings = Vec::new();
    for campaign in &mut campaigns {
        println!("{}", campaign.report());
        if seconds.is_some() {
            campaign.corpus.save();
        }
        findings.extend(
            (campaign.tally.findings.iter()).map(|text| format!("{}: {text}", campaign.decoder.name)),
        );
    }
    let executions: u64 = campaigns.iter().map(|campaign| campaign.tally.runs).sum();
    println!("{executions} executions, {} findings", findings.len());
    corpus::forget_note();
    assert!(executions > 0, "no decoder is called {only:?}");
    assert!(findings.is_empty(), "findings:\n{}", findings.join("\n"));
}

/// Turns of a second each, so that every decoder gets its share however long the run is.
fn run_for(time: Duration, campaigns: &mut [Campaign]) {
    const TURN: Duration = Duration::from_millis(500);
    let end = Instant::now() + time;
    let mut next_report = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for campaign in campaigns.iter_mut() {
            let turn = (Instant::now() + TURN).min(end);
            while Instant::now() < turn {
                (0..64).for_each(|_| campaign.step());
            }
        }
        if Instant::now() > next_report {
            next_report += Duration::from_secs(60);
            for campaign in campaigns.iter() {
                eprintln!("{}", campaign.report());
            }
        }
    }
}
