//! Log lines: for people on a terminal, JSON otherwise; always on stderr, and never through a progress bar.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Checks a filter like `info` or `warn,outrigger_capture=debug`.
pub fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| {
        format!("{error}; write error, warn, info, debug or trace, or per module like `info,outrigger_capture=debug`")
    })
}

/// Installs the process's logger, once. Progress bars drawn through the result and log lines do not overwrite each other.
///
/// # Errors
/// When the filter is malformed, or a logger is installed already.
pub fn install(filter: &str) -> anyhow::Result<MultiProgress> {
    let filter = EnvFilter::try_new(filter)?;
    let terminal = io::stderr().is_terminal();
    let target = if terminal {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bars = MultiProgress::with_draw_target(target);
    let writer = AroundBars { bars: bars.clone() };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // It would tell of lines that can't be written on stderr, and panic because stderr can't be written.
        .log_internal_errors(false);
    let installed = if terminal {
        builder.with_target(false).try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    };
    installed.map_err(|error| anyhow::anyhow!("the logger cannot be installed: {error}"))?;
    Ok(bars)
}

/// Writes whole lines to stderr, lifting the progress bars out of the way for each.
#[derive(Debug, Clone)]
struct AroundBars {
    bars: MultiProgress,
}

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { bars: &self.bars }
    }
}

/// One log line on its way.
struct Line<'a> {
    bars: &'a MultiProgress,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_checked_with_a_sentence() {
        assert!(parse_filter("info,outrigger_capture=debug").is_ok());
        assert!(
            parse_filter("outrigger=loudly")
                .unwrap_err()
                .contains("write error, warn")
        );
    }
}
