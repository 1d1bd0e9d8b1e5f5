//! From the configuration to an app, and the first words the server says.

use std::io::{self, Write as _};
use std::sync::Arc;

use crate::access_log::LogFormat;
use crate::api::root::Pages;
use crate::app::App;
use crate::client::Identify;
use crate::config::{Config, Listen, ProductStoreKind};
use crate::limiter::{Limiter, LimiterSettings, Policy};
use crate::log_writer::LogWriter;
use crate::metrics::Metrics;
use crate::products::{MemoryProducts, ProductStore, RedisProducts};
use crate::redis_client::{RedisClient, RedisSettings};

/// The name of the one policy there is, in headers, keys and labels.
pub const POLICY: &str = "protected-action";

/// Puts the app together.
///
/// # Errors
/// When the configuration holds what its checks should have refused.
pub fn app(config: &Config, metrics: Arc<Metrics>, log_writer: LogWriter) -> io::Result<App> {
    let policy = Policy::new(POLICY, config.rate_limit, config.refill_rate, 1).map_err(io::Error::other)?;
    let settings = LimiterSettings {
        policy,
        max_buckets: config.max_buckets,
        on_redis_failure: config.on_redis_failure,
        replicas: config.replicas,
    };
    let client = redis_client(config, settings.meanwhile(), &metrics)?;
    let limiter = Limiter::new(&settings, client.clone(), metrics.clone());
    let identify = Identify {
        trusted: config.trusted_proxies.nets.clone(),
        trust_unix: config.trusted_proxies.unix,
        ipv6_prefix: config.ipv6_prefix,
    };
    let pages = Pages::new(config.console, config.docs);
    let products: Box<dyn ProductStore> = match (config.product_store, client) {
        (ProductStoreKind::Redis, Some(client)) => Box::new(RedisProducts::new(client, config.max_products)),
        (ProductStoreKind::Redis, None) => return Err(io::Error::other("PRODUCT_STORE=redis needs a Redis")),
        (ProductStoreKind::Memory, _) => Box::new(MemoryProducts::new(config.max_products)),
    };
    Ok(App::new(limiter, products, metrics, (config.access_log, log_writer), identify, pages, config.max_body_bytes))
}

fn redis_client(config: &Config, meanwhile: String, metrics: &Arc<Metrics>) -> io::Result<Option<Arc<RedisClient>>> {
    let Some(redis) = &config.redis else { return Ok(None) };
    let settings = RedisSettings {
        url: redis.url.expose().to_owned(),
        pool_size: redis.pool_size,
        connect_timeout: redis.connect_timeout,
        command_timeout: redis.command_timeout,
        pool_wait: redis.pool_wait,
    };
    let client = RedisClient::open(&settings, meanwhile, metrics.clone());
    client.map(|client| Some(Arc::new(client))).map_err(io::Error::other)
}

/// Says on stderr where the server is, what limits it, and what to try.
pub fn greet(listen: &Listen, config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    let (place, curl) = reach(listen);
    let limiter = match &config.redis {
        Some(redis) => format!("shared, in Redis at {}", redis.url),
        None => "embedded, for this process alone (REDIS_URL shares it)".to_owned(),
    };
    let limit = format!("{} tokens a client, {} back each second", config.rate_limit, config.refill_rate);
    match config.log_format {
        LogFormat::Json => {
            log::info!("tollgate {version} listens on {place}; limiter: {limiter}; limit: {limit}");
        }
        LogFormat::Text => {
            let try_it = format!("{curl}/api/protected-action");
            let watch = if config.console { format!("  watch    {curl}/console\n") } else { String::new() };
            let words = format!(
                "tollgate {version} listens on {place}\n  \
                   limiter  {limiter}\n  \
                   limit    {limit} (RATE_LIMIT, REFILL_RATE)\n  \
                   try      curl -i -d '{{\"hello\":\"world\"}}' -H 'Content-Type: application/json' {try_it}\n{watch}  \
                   also     {curl}/api/status  {curl}/api/products  {curl}/metrics\n"
            );
            // A stderr that nobody reads is no reason not to serve.
            let _unread = io::stderr().write_all(words.as_bytes());
        }
    }
}

/// The address to show, and how curl is told of it.
fn reach(listen: &Listen) -> (String, String) {
    match listen {
        Listen::Tcp(address) => {
            let mut local = *address;
            if address.ip().is_unspecified() {
                // What listens everywhere is asked at home.
                local.set_ip(if address.is_ipv4() {
                    [127, 0, 0, 1].into()
                } else {
                    std::net::Ipv6Addr::LOCALHOST.into()
                });
            }
            (format!("http://{address}"), format!("http://{local}"))
        }
        Listen::Unix(path) => (listen.to_string(), format!("--unix-socket {} http://localhost", path.display())),
    }
}
