//! The relays that others use, as they are when installed: HAProxy in TCP mode, MySQL Router.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use outrigger::demo::{port, server};

use crate::lab::{self, Lab};

/// More connections than any part of the benchmark opens.
const CONNECTIONS: u32 = 6_000;

/// A relay before one server; killed when dropped.
pub(super) struct Relay {
    pub(super) name: &'static str,
    pub(super) port: u16,
    child: Child,
}

impl Relay {
    /// Those that are installed, before the server on a port.
    pub(super) fn all(lab: &Lab, upstream: u16) -> Result<Vec<Self>> {
        let mut relays = Vec::new();
        for (name, program, text) in [
            ("haproxy", "haproxy", haproxy as fn(u16, u16) -> Result<String>),
            ("router", "mysqlrouter", router),
        ] {
            let Some(program) = lab::find(program) else {
                lab::say(&format!("{program} is not installed: left out"))?;
                continue;
            };
            let (port, config) = (port::free()?, lab.path(&format!("{name}.cfg")));
            std::fs::write(&config, text(port, upstream)?)?;
            relays.push(Self::start(name, &program, &config, port)?);
        }
        Ok(relays)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(name: &'static str, program: &Path, config: &Path, port: u16) -> Result<Self> {
        let mut arguments = vec![program.into()];
        if name == "haproxy" {
            arguments.extend(["-db".into(), "-f".into(), config.into()]);
        } else {
            arguments.extend(["-c".into(), config.into()]);
        }
        let child = server::spawn(arguments, None)?;
        let relay = Self { name, port, child };
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(relay);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{name} does not accept connections")
    }
}

fn haproxy(port: u16, upstream: u16) -> Result<String> {
    let threads = std::thread::available_parallelism()?;
    Ok(format!(
        "global\n  maxconn {CONNECTIONS}\n  nbthread {threads}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 600s\n  \
         timeout server 600s\nlisten tcp\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{upstream}\n"
    ))
}

/// Without TLS on either side, as the others.
fn router(port: u16, upstream: u16) -> Result<String> {
    Ok(format!(
        "[DEFAULT]\nmax_total_connections={CONNECTIONS}\nunknown_config_option=warning\n[logger]\nlevel=WARNING\n\
         [routing:r]\nbind_address=127.0.0.1\nbind_port={port}\ndestinations=127.0.0.1:{upstream}\n\
         routing_strategy=first-available\nprotocol=classic\nclient_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n\
         max_connections={CONNECTIONS}\n"
    ))
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already; either way there is nobody left to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
