//! What a configuration was understood to say, for `outrigger config check`. Passwords appear as `***` (W1).

use outrigger_protocol::endpoint::Endpoint;

use super::Config;

/// The whole configuration, one setting a line.
pub(super) fn render(config: &Config) -> String {
    let mut lines = Lines::default();
    lines.section("source");
    lines.endpoint(&config.capture.source);
    lines.add(
        "server_id",
        config
            .capture
            .server_id
            .map_or_else(|| "derived".to_owned(), |id| id.to_string()),
    );
    lines.duration("heartbeat", config.capture.heartbeat);
    lines.add("semi_sync", config.capture.semi_sync);
    lines.duration("prepared_wait", config.capture.prepared_wait);
    lines.add("partial row images", yes(config.capture.allow_partial_row_images));
    if let Some(zone) = config
        .tasks
        .iter()
        .find_map(|task| task.system_time_zone.as_ref())
    {
        lines.add("system_time_zone", zone);
    }
    lines.duration("connect_timeout", config.capture.connect_timeout);
    lines.duration("retry_window", config.capture.retry_window);

    lines.section("log");
    lines.add("path", config.log.path.display());
    lines.add("quota", config.log.quota);
    match config.log.max_age {
        None => lines.add("max_age", "no limit"),
        Some(age) => lines.duration("max_age", age),
    }
    lines.duration("keep", config.log.keep);
    lines.add("keep_all", config.keep_all);
    lines.duration("sync_interval", config.log.sync_interval);
    lines.add("sync_bytes", config.log.sync_bytes);
    lines.add("cache", config.log.cache);
    lines.add("write_buffer", config.log.write_buffer);
    lines.add("tail", config.log.tail);

    lines.section("proxy");
    match &config.proxy {
        None => lines.add("", "none"),
        Some(proxy) => {
            show_proxy(&mut lines, proxy);
            for (rule, action) in &config.guard.rules {
                lines.add(&format!("guard {rule}"), action.name());
            }
        }
    }
    for task in &config.tasks {
        lines.section(&format!("task {}", task.name));
        lines.endpoint(&task.target);
        for pattern in &task.selection.include {
            lines.add("include", pattern);
        }
        for pattern in &task.selection.exclude {
            lines.add("exclude", pattern);
        }
        let (copy, group) = (&task.copy, &task.group);
        lines.add(
            "copy",
            format!("schema {}, rows {}", yes(copy.schema), yes(copy.rows)),
        );
        lines.add("copy connections", copy.connections);
        lines.add(
            "copy chunk",
            format!("{} rows or {}", copy.chunk_rows, copy.chunk_bytes),
        );
        lines.add(
            "group",
            format!("{} transactions or {}", group.max_transactions, group.max_bytes),
        );
        lines.add("group lanes", group.lanes);
        lines.add("group order", format!("{:?}", group.order).to_lowercase());
        lines.duration("group max_delay", group.max_delay);
        show_limits(&mut lines, &task.limits);
        lines.add(
            "on_existing_tables",
            format!("{:?}", task.on_existing_tables).to_lowercase(),
        );
        lines.add(
            "on_divergence",
            format!("{:?}", task.on_divergence).to_lowercase(),
        );
        lines.add("metadata_database", &task.metadata_database);
        lines.duration("connect_timeout", task.connect_timeout);
        lines.duration("retry_window", task.retry_window);
    }
    lines.section("http");
    lines.add("listen", config.http.listen);
    lines.text
}

fn show_proxy(lines: &mut Lines, proxy: &outrigger_proxy::Config) {
    for listen in &proxy.listen {
        lines.add("listen", &listen.address);
        for (name, list) in [
            ("  allow", &listen.allow),
            ("  deny", &listen.deny),
            ("  proxy_protocol", &listen.proxy_protocol),
        ] {
            if let Some(list) = list {
                lines.networks(name, list);
            }
        }
        if let Some(list) = &listen.compression {
            lines.algorithms("  compression", list);
        }
    }
    lines.algorithms("compression", &proxy.compression);
    for (name, list) in [
        ("allow", &proxy.allow),
        ("deny", &proxy.deny),
        ("proxy_protocol", &proxy.proxy_protocol),
    ] {
        if !list.is_empty() {
            lines.networks(name, list);
        }
    }
    lines.add("max_connections", proxy.max_connections);
    for (name, limit) in [
        ("  per address", proxy.max_connections_per_address),
        ("  per user", proxy.max_connections_per_user),
    ] {
        if limit > 0 {
            lines.add(name, limit);
        }
    }
    lines.duration("connect_timeout", proxy.connect_timeout);
    lines.duration("handshake_timeout", proxy.handshake_timeout);
    lines.duration("drain_timeout", proxy.drain_timeout);
    lines.duration("idle_timeout", proxy.idle_timeout);
    lines.duration("keepalive", proxy.keepalive);
    lines.duration("tcp_user_timeout", proxy.tcp_user_timeout);
    if !proxy.slow_query.is_zero() {
        lines.duration("slow_query", proxy.slow_query);
    }
    let tls = &proxy.tls;
    lines.add("ssl_mode", format!("{:?}", tls.ssl_mode).to_lowercase());
    for (name, path) in [
        ("cert", &tls.cert),
        ("key", &tls.key),
        ("client_ca", &tls.client_ca),
    ] {
        if let Some(path) = path {
            lines.add(name, path.display());
        }
    }
}

fn show_limits(lines: &mut Lines, limits: &outrigger_applier::LimitsConfig) {
    if limits.rows_per_second > 0 {
        lines.add("limit rows/s", limits.rows_per_second);
    }
    if limits.bytes_per_second.0 > 0 {
        lines.add("limit bytes/s", limits.bytes_per_second);
    }
    if !limits.max_latency.is_zero() {
        lines.duration("limit max_latency", limits.max_latency);
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn section(&mut self, name: &str) {
        self.text.push_str(name);
        self.text.push('\n');
    }

    fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        self.text.push_str(&format!("  {key:<19} {value}\n"));
    }

    fn duration(&mut self, key: &str, value: std::time::Duration) {
        self.add(key, humantime::format_duration(value));
    }

    fn networks(&mut self, key: &str, list: &[outrigger_proxy::Network]) {
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        let text = match list.is_empty() {
            true => "none".to_owned(),
            false => list.join(", "),
        };
        self.add(key, text);
    }

    fn algorithms(&mut self, key: &str, list: &[outrigger_proxy::Algorithm]) {
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        self.add(key, list.join(", "));
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        self.add("server", &endpoint.address);
        self.add("user", &endpoint.user);
        self.add(
            "password",
            if endpoint.password.expose().is_empty() {
                "(empty)"
            } else {
                "***"
            },
        );
        self.add("tls", format!("{:?}", endpoint.tls).to_lowercase());
        if let Some(ca) = &endpoint.tls_ca {
            self.add("tls_ca", ca.display());
        }
        if let Some(identity) = &endpoint.tls_identity {
            self.add("tls_cert", identity.certificate.display());
            self.add("tls_key", identity.key.display());
        }
    }
}
