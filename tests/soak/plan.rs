//! What happens in a run, drawn from its seed: how the source and the sidecar are set, the workload, the faults. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::workload::{Shape, spread};

/// Every crash point of the sidecar; CONTRIBUTING.md says what they are.
pub(super) const FAILPOINTS: [&str; 9] = [
    "log-append",
    "log-sync",
    "chunk-commit",
    "group-commit",
    "group-committed",
    "checkpoint",
    "ddl-before",
    "ddl-after",
    "capture-append",
];

/// The point at which a sync of the log fails instead.
const FAILING_SYNC: &str = "log-sync-fails";

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    /// Writers are at work before the sidecar is first started.
    pub(super) writers_first: bool,
    /// The crash point of the very first start.
    pub(super) first_start: Option<Crash>,
    /// The source's `binlog_row_image`.
    pub(super) row_image: &'static str,
    pub(super) settings: Settings,
    pub(super) faults: Vec<Step>,
}

/// How the sidecar is configured, where it matters to what is kept and when.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// Transactions that change nothing are kept, too.
    pub(super) keep_all: bool,
    pub(super) sync_interval_ms: u32,
    pub(super) sync_bytes: u32,
    pub(super) write_buffer_mib: u32,
    pub(super) tail_kib: u32,
    pub(super) chunk_rows: u32,
    pub(super) group_transactions: u32,
    /// Groups may be committed before older ones.
    pub(super) eventual: bool,
}

/// A fault and when it comes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// After the one before.
    pub(super) after: Duration,
    pub(super) fault: Fault,
}

/// A crash point and how often it is passed before.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Crash {
    pub(super) point: &'static str,
    pub(super) passages: u32,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The sidecar is started such that it is ended by SIGKILL at a point of its code.
    Crash(Crash),
    /// The sidecar is ended by SIGKILL now.
    Kill,
    /// The sidecar is asked to stop.
    Stop,
    /// The sidecar is started such that one sync of its log fails, after so many that succeed; it has to get over it by itself.
    FailingSync(u32),
    /// The link between sidecar and source breaks after so many more bytes.
    Cut(Cut),
    /// The source is restarted.
    Source(Restart),
    /// The target is restarted.
    Target(Restart),
}

/// Where and how a link breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Bytes that still pass, over all connections.
    pub(super) bytes: u64,
    /// Counted on the way to the source, not from it.
    pub(super) upwards: bool,
    pub(super) manner: Manner,
}

/// What both ends see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// An orderly end.
    Close,
    /// A reset.
    Reset,
    /// Nothing: neither bytes nor an end.
    Silence,
}

/// How a server goes and when it comes back.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Restart {
    /// By SIGKILL, not in order.
    pub(super) kill: bool,
    pub(super) away: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0x6f75_7472_6967_6765);
        let writers_first: bool = dice.random();
        let shape = Shape {
            // A task can't know the rows of what was prepared before it began.
            xa: !writers_first,
            writers: dice.random_range(2..5),
            definitions: dice.random_range(0..4) > 0,
            gtids: dice.random_range(0..4) > 0,
            large: 3 << 20,
            pause: Duration::from_millis(dice.random_range(10..60)),
        };
        let faults = dice.random_range(3..6);
        // From dice of its own: the seeds of the past keep their plans.
        let image = StdRng::seed_from_u64(seed ^ 0x696d_6167_6573).random_range(0..6);
        Self {
            shape,
            row_image: ["FULL", "FULL", "FULL", "FULL", "MINIMAL", "NOBLOB"][image],
            writers_first,
            first_start: dice
                .random_bool(0.4)
                .then(|| crash(&mut dice, true, shape.definitions)),
            settings: Settings {
                eventual: StdRng::seed_from_u64(seed ^ 0x006f_7264_6572).random_range(0..3) == 0,
                ..Settings::draw(&mut dice)
            },
            faults: (0..faults)
                .map(|_| Step::draw(&mut dice, shape.definitions))
                .collect(),
        }
    }
}

impl Settings {
    fn draw(dice: &mut StdRng) -> Self {
        let keep_all = dice.random();
        let mut pick = |from: &[u32]| from[dice.random_range(0..from.len())];
        Self {
            keep_all,
            sync_interval_ms: pick(&[0, 1, 5, 5, 100]),
            sync_bytes: pick(&[4096, 65536, 1 << 20]),
            write_buffer_mib: pick(&[1, 2, 16]),
            tail_kib: pick(&[1, 64, 16384]),
            chunk_rows: pick(&[500, 3000, 20000]),
            group_transactions: pick(&[1, 10, 500]),
            eventual: false,
        }
    }
}

impl Step {
    fn draw(dice: &mut StdRng, definitions: bool) -> Self {
        let after = Duration::from_millis(dice.random_range(0..800));
        let fault = match dice.random_range(0..100) {
            0..35 => Fault::Crash(crash(dice, false, definitions)),
            35..45 => Fault::Kill,
            45..48 => Fault::Stop,
            48..52 => Fault::FailingSync(spread(dice, 100)),
            52..80 => Fault::Cut(cut(dice)),
            80..92 => Fault::Source(restart(dice)),
            _ => Fault::Target(restart(dice)),
        };
        Self { after, fault }
    }
}

/// A crash point while rows are copied, or later.
fn crash(dice: &mut StdRng, copying: bool, definitions: bool) -> Crash {
    let point = match dice.random_range(0..100) {
        percent if percent < if copying { 40 } else { 3 } => "chunk-commit",
        percent if percent > 70 && definitions => ["ddl-before", "ddl-after"][dice.random_range(0..2)],
        _ => [
            "log-append",
            "log-sync",
            "group-commit",
            "group-committed",
            "checkpoint",
            "capture-append",
        ][dice.random_range(0..6)],
    };
    // Definitions and chunks are fewer than the rest.
    let most = match point {
        "ddl-before" | "ddl-after" => 1,
        "chunk-commit" => 12,
        "checkpoint" | "group-commit" | "group-committed" => 30,
        _ => 100,
    };
    Crash {
        point,
        passages: spread(dice, most),
    }
}

fn cut(dice: &mut StdRng) -> Cut {
    let upwards = dice.random_range(0..5) == 0;
    Cut {
        // Greeting and login are the first hundreds of bytes; what goes up is little.
        bytes: spread(dice, if upwards { 2000 } else { 4 << 20 }).into(),
        upwards,
        manner: match dice.random_range(0..10) {
            0..5 => Manner::Close,
            5..9 => Manner::Reset,
            _ => Manner::Silence,
        },
    }
}

fn restart(dice: &mut StdRng) -> Restart {
    Restart {
        kill: dice.random(),
        away: Duration::from_millis(spread(dice, 1000).into()),
    }
}

impl Crash {
    /// The point is passed once the copy is done.
    pub(super) fn in_replay(&self) -> bool {
        matches!(
            self.point,
            "checkpoint" | "group-commit" | "group-committed" | "ddl-before" | "ddl-after"
        )
    }

    /// As the environment variable `FAILPOINTS` has it.
    pub(super) fn failpoint(&self) -> String {
        match self.passages {
            0 => format!("{}=return", self.point),
            passages => format!("{}={passages}*off->return", self.point),
        }
    }
}

/// As the environment variable `FAILPOINTS` has it.
pub(super) fn failing_sync(passages: u32) -> String {
    match passages {
        0 => format!("{FAILING_SYNC}=1*return"),
        passages => format!("{FAILING_SYNC}={passages}*off->1*return"),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(crash) => write!(f, "SIGKILL at {}", crash.failpoint()),
            Self::Kill => f.write_str("SIGKILL"),
            Self::Stop => f.write_str("SIGTERM"),
            Self::FailingSync(passages) => f.write_str(&failing_sync(*passages)),
            Self::Cut(cut) => write!(
                f,
                "link cut after {} bytes {} ({:?})",
                cut.bytes,
                if cut.upwards { "up" } else { "down" },
                cut.manner
            ),
            Self::Source(restart) => write!(f, "source {restart}"),
            Self::Target(restart) => write!(f, "target {restart}"),
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.kill { "killed" } else { "stopped" };
        write!(f, "{how} for {} ms", self.away.as_millis())
    }
}

#[test]
fn a_seed_is_a_plan_and_every_fault_comes() {
    assert_eq!(Plan::new(5), Plan::new(5));
    let all: Vec<String> = (0..200)
        .flat_map(|seed| Plan::new(seed).faults)
        .map(|step| step.fault.to_string())
        .collect();
    let images: BTreeSet<&str> = (0..200).map(|seed| Plan::new(seed).row_image).collect();
    assert_eq!(images.len(), 3);
    let words = [
        "SIGKILL",
        "SIGTERM",
        "down (Close)",
        "up (Reset)",
        "Silence",
        FAILING_SYNC,
        "source killed",
        "source stopped",
        "target killed",
    ];
    for word in words.iter().chain(&FAILPOINTS) {
        assert!(
            all.iter().any(|text| text.contains(word)),
            "no {word} in 200 plans"
        );
    }
}

/// A crash point that the soak does not know would never be tried.
#[test]
fn every_crash_point_is_known() {
    fn visit(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("fail_point!(\"").skip(1);
                found.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["storage/src", "capture/src", "applier/src", "proxy/src", "src"] {
        visit(&root.join(folder), &mut found);
    }
    found.sort();
    found.dedup();
    let mut known = FAILPOINTS.to_vec();
    known.push(FAILING_SYNC);
    // Reached where target and source differ, which no workload makes; tests/divergence.rs does.
    known.push("divergence");
    known.sort_unstable();
    assert_eq!(found, known);
}
