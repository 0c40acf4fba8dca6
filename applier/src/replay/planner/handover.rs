//! From the planner to the apply loop: one step for each time that it asks.

use tokio::sync::mpsc;

use super::Halt;
use crate::replay::apply::Step;

/// The planner's end. The apply loop asks when it is free, so that a group grows until the moment it can be sent.
pub(in crate::replay) struct Handover {
    steps: mpsc::Sender<Step>,
    asks: mpsc::Receiver<()>,
    asked: bool,
}

impl Handover {
    pub(in crate::replay) fn new(steps: mpsc::Sender<Step>, asks: mpsc::Receiver<()>) -> Self {
        Self {
            steps,
            asks,
            asked: false,
        }
    }

    /// Waits until the apply loop is free. May be cancelled: an ask that was received is kept.
    pub(super) async fn asked(&mut self) -> Result<(), Halt> {
        if !self.asked {
            self.asks.recv().await.ok_or(Halt::ApplyEnded)?;
            self.asked = true;
        }
        Ok(())
    }

    /// Hands a step over once the apply loop is free.
    pub(super) async fn send(&mut self, step: Step) -> Result<(), Halt> {
        self.asked().await?;
        self.asked = false;
        self.steps.send(step).await.map_err(|_ended| Halt::ApplyEnded)
    }
}
