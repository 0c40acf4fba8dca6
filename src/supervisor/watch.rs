//! Looks at everything once a second: rates, the process's own metrics, progress bars, changes of state in the log lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use metrics::gauge;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Error;
use crate::progress::Bars;
use crate::status::{Document, Observer, Phase};
use crate::telemetry::metrics::Recorder;

/// How often it is looked. [`crate::status::Window`] holds a minute of such samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Every how many looks the recorder tidies up.
const UPKEEP: u64 = 5;

/// Watches until cancelled.
pub(super) async fn run(
    observer: Arc<Observer>,
    recorder: Recorder,
    screen: MultiProgress,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bars = Bars::new(screen);
    let mut states = States::default();
    for look in 0_u64.. {
        tokio::select! {
            () = cancel.cancelled() => break,
            _ = ticks.tick() => {}
        }
        observer.sample(Instant::now());
        let document = observer.document();
        states.tell(&document);
        bars.show(&document);
        if look % UPKEEP == 0 {
            recorder.upkeep();
        }
    }
    Ok(())
}

/// The state of each part when it was last told.
#[derive(Debug, Default)]
struct States {
    told: HashMap<String, (String, Option<String>)>,
}

impl States {
    /// Writes a log line for each part whose state changed.
    fn tell(&mut self, document: &Document) {
        self.part("log", &document.log.phase);
        self.part("capture", &document.source.phase);
        for task in &document.tasks {
            let part = format!("task {}", task.name);
            self.gauge(&task.name, &part, &task.phase.state);
            gauge!("outrigger_task_delay_seconds", "task" => task.name.clone()).set(task.delay_seconds);
            self.part(&part, &task.phase);
        }
    }

    /// 1 for the state that the task is in, 0 for the one that it left: what an alert is written on.
    fn gauge(&self, task: &str, part: &str, state: &str) {
        let labels = |state: &str| [("task", task.to_owned()), ("state", state.to_owned())];
        if let Some((before, _)) = self.told.get(part).filter(|(before, _)| before != state) {
            gauge!("outrigger_task_state", &labels(before)).set(0.0);
        }
        gauge!("outrigger_task_state", &labels(state)).set(1.0);
    }

    fn part(&mut self, part: &str, phase: &Phase) {
        if !self.changed(part, phase) {
            return;
        }
        let state = phase.state.as_str();
        match &phase.why {
            // An end is told by whoever joins the part.
            _ if state == "stopped" => {}
            Some(why) => warn!(part, state, "{why}"),
            None => info!(part, state, "{part} is {}", state.replace('_', " ")),
        }
    }

    /// Whether a part is in another state than when this was last asked.
    fn changed(&mut self, part: &str, phase: &Phase) -> bool {
        let now = (phase.state.clone(), phase.why.clone());
        self.told
            .insert(part.to_owned(), now.clone())
            .is_none_or(|before| before != now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once() {
        let mut states = States::default();
        let retrying = Phase {
            why: Some("gone".to_owned()),
            ..Phase::plain("retrying")
        };
        assert!(states.changed("capture", &Phase::plain("streaming")));
        assert!(!states.changed("capture", &Phase::plain("streaming")));
        assert!(states.changed("capture", &retrying));
        assert!(!states.changed(
            "capture",
            &Phase {
                for_seconds: Some(3.0),
                ..retrying
            }
        ));
    }
}
