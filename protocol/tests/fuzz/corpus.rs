//! The inputs worth keeping, a file per decoder: `tests/corpus/NAME.hex`, one input per line in hexadecimal digits.
//!
//! What made a decoder fail is written at once; after a long run a choice of small inputs that did something new is added.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

/// Discovered inputs beyond this are not kept.
const LONGEST: usize = 400;
/// Nor more than so many bytes of them.
const ROOM: usize = 12_000;
/// How many are remembered to choose from.
const CHOICE: usize = 50_000;

pub(crate) struct Corpus {
    path: PathBuf,
    inputs: Vec<Vec<u8>>,
    discovered: Vec<Vec<u8>>,
}

impl Corpus {
    pub(crate) fn open(name: &str) -> Self {
        let path =
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus")).join(format!("{name}.hex"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self {
            path,
            inputs: text.lines().map(from_hex).collect(),
            discovered: Vec::new(),
        }
    }

    pub(crate) fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// Did something new.
    pub(crate) fn discovered(&mut self, input: &[u8]) {
        if input.len() <= LONGEST && self.discovered.len() < CHOICE {
            self.discovered.push(input.to_vec());
        }
    }

    /// Did something wrong: kept at once.
    pub(crate) fn keep(&mut self, input: &[u8]) {
        if !self.inputs.iter().any(|known| known == input) && self.inputs.len() < 1000 {
            self.inputs.push(input.to_vec());
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)
                .unwrap();
            writeln!(file, "{}", hex(input)).unwrap();
        }
    }

    /// Writes a choice of what was discovered, evenly from the whole run, as far as there is room.
    pub(crate) fn save(&mut self) {
        let mut room = ROOM.saturating_sub(self.inputs.iter().map(Vec::len).sum());
        let step = self.discovered.len() / 200 + 1;
        for input in self.discovered.iter().rev().step_by(step) {
            if input.len() <= room && !self.inputs.contains(input) {
                room -= input.len();
                self.inputs.push(input.clone());
            }
        }
        let text: String = self.inputs.iter().map(|input| hex(input) + "\n").collect();
        fs::write(&self.path, text).unwrap();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// The input that is being tried, in a file: it is there still when the process was aborted (out of memory, out of stack).
static NOTE: LazyLock<(PathBuf, Mutex<File>)> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("outrigger-fuzz-{}", std::process::id()));
    let file = File::create(&path).unwrap();
    (path, Mutex::new(file))
});

/// Notes the input before it is tried; its length comes first, for what is left of longer ones before it.
pub(crate) fn note(input: &[u8]) {
    let mut file = NOTE.1.lock().unwrap();
    file.rewind().unwrap();
    file.write_all(&[&input.len().to_le_bytes()[..], input].concat())
        .unwrap();
}

/// All inputs were survived.
pub(crate) fn forget_note() {
    fs::remove_file(&NOTE.0).unwrap();
}
