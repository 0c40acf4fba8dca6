//! SIGTERM, SIGINT and SIGHUP; and SIGXFSZ, which would end the process where a limit on file sizes is nothing but a full disk.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;

/// SIGHUP, which asks to read the configuration again.
pub(super) struct Hangup(Signal);

impl Hangup {
    /// From here on the signal no longer ends the process.
    pub(super) fn listen() -> Result<Self, Error> {
        let listening = signal(SignalKind::hangup());
        listening.map(Self).map_err(|cause| Error::System {
            doing: "listening for signals",
            cause,
        })
    }

    /// Waits for the next. May be cancelled, likewise.
    pub(super) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Both signals that ask a process to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Never asked: that somebody listens turns the signal into an error of the write.
    _file_size: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process.
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|cause| Error::System {
                doing: "listening for signals",
                cause,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            _file_size: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits for the next of either. May be cancelled: a signal that came is then told next time.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
