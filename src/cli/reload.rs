//! `outrigger reload`: has a running sidecar read its configuration again, as SIGHUP does, and prints what came of it.

use anyhow::{Context, bail};

use super::print;
use super::status::StatusArgs;
use crate::supervisor::reload::Reloaded;

pub(super) fn reload(args: &StatusArgs) -> anyhow::Result<()> {
    let url = args.base()?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{url}/api/v1/reload"))
        .send_empty()
        .with_context(|| format!("nothing answers at {url}"))?;
    if !answer.status().is_success() {
        let why = answer.body_mut().read_to_string()?;
        bail!(
            "the configuration does not hold, the one before stays in force: {}",
            why.trim_end()
        );
    }
    let reloaded: Reloaded = answer.body_mut().read_json()?;
    if args.json {
        return print(&(serde_json::to_string_pretty(&reloaded)? + "\n"));
    }
    print(&render(&reloaded))
}

fn render(reloaded: &Reloaded) -> String {
    let names = |names: &[String]| match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    };
    let mut text = format!("taken up       {}\n", names(&reloaded.taken_up));
    if !reloaded.at_next_start.is_empty() {
        text.push_str(&format!("at next start  {}\n", names(&reloaded.at_next_start)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_start_is_named() {
        let mut reloaded = Reloaded::default();
        assert_eq!(render(&reloaded), "taken up       nothing\n");
        reloaded.taken_up.push("proxy.deny".to_owned());
        reloaded.at_next_start.push("log.quota".to_owned());
        assert_eq!(
            render(&reloaded),
            "taken up       proxy.deny\nat next start  log.quota\n"
        );
    }
}
