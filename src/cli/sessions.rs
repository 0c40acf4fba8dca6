//! `outrigger sessions`: asks a running sidecar who is connected to its proxy.

use anyhow::Context;

use super::print;
use super::status::{StatusArgs, ask};
use crate::status::{Sessions, render_sessions};

pub(super) fn sessions(args: &StatusArgs) -> anyhow::Result<()> {
    let list: Sessions = ask(&args.base()?, "/api/v1/sessions")?;
    if args.json {
        let json = serde_json::to_string_pretty(&list).context("the list cannot be written as JSON")?;
        return print(&(json + "\n"));
    }
    print(&render_sessions(&list))
}
