//! What a sidecar is doing, as one document: made by [`Observer`] inside the sidecar, served at `/api/v1/status`, read and
//! printed by `outrigger status`.

mod document;
mod ending;
mod held;
mod log;
mod observer;
mod rate;
mod render;
mod sessions;

pub use document::{
    DivergedTable, DivergencesPart, Document, GuardPart, LastDivergence, LimitsPart, LogPart, Phase,
    ProxyPart, SourcePart, TablePart, TaskPart, TrafficPart,
};
pub use ending::Ending;
pub use held::Held;
pub use log::ObservedLog;
pub use observer::{ObservedProxy, ObservedTask, Observer};
pub use rate::Window;
pub use render::render;
pub use sessions::{SessionPart, Sessions, render_sessions};
