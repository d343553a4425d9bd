//! What all commands that fetch or send take: limits and trust.

use clap::Args;
use lair_store::{Settings, Store};

use crate::failure::{ExitCode, Failure};

/// The slowest limit: below it a connection is taken for dead.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// How bytes are transferred.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Transfer")]
pub struct TransferArgs {
    /// Speak plain HTTP with a registry that has no TLS
    #[arg(long)]
    insecure: bool,
    /// Let registries and links be at private addresses (10/8, 192.168/16 and the like)
    #[arg(long)]
    allow_private_registry: bool,
    /// Bytes a second for all connections together: 20M, 500K
    #[arg(long, value_name = "RATE", value_parser = parse_bytes)]
    limit_rate: Option<u64>,
    /// Connections for one file [default: 4, at most 8]
    #[arg(long, value_name = "COUNT")]
    connections: Option<usize>,
    /// What one request asks for; a kill costs less than this [default: 32M]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    part_size: Option<u64>,
    /// One JSON object a line, with the fields of Ollama's API
    #[arg(long)]
    pub json: bool,
}

impl TransferArgs {
    /// The store of the environment, with these wishes.
    pub fn store(&self) -> Result<Store, Failure> {
        let mut settings = Settings::from_env()?;
        let transfer = &mut settings.transfer;
        transfer.is_plain_http_allowed |= self.insecure;
        transfer.is_private_address_allowed |= self.allow_private_registry;
        transfer.bytes_per_second_max = self.limit_rate.map(|rate| rate.max(BYTES_PER_SECOND_MIN));
        if let Some(count) = self.connections {
            if !(1..=lair_store::transfer::CONNECTIONS_MAX).contains(&count) {
                let cause = format!("--connections is {count}, 1 to 8 are possible");
                return Err(Failure::new(ExitCode::Usage, cause));
            }
            transfer.connection_count = count;
        }
        if let Some(bytes) = self.part_size {
            if bytes < 1024 {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!("--part-size is {bytes} bytes, at least 1K is possible"),
                ));
            }
            transfer.part_bytes = bytes;
        }
        Ok(Store::open(settings))
    }
}

/// `20M`, `1.5G`, `500K`, `100000`: with 1024 to the K, as `curl --limit-rate` counts.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['B', 'b', 'i']);
    let (number, factor) = match digits.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&digits[..at], 1u64 << 10),
        Some((at, 'm' | 'M')) => (&digits[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&digits[..at], 1 << 30),
        _ => (digits, 1),
    };
    let number: f64 = number.trim().parse().map_err(|_| "a number with K, M or G is expected".to_string())?;
    let bytes = number * factor as f64;
    if bytes.is_finite() && (1.0..1e15).contains(&bytes) { Ok(bytes as u64) } else { Err("out of range".to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rates_and_sizes() {
        for (text, bytes) in [
            ("20M", Some(20 << 20)),
            ("1.5G", Some(3 << 29)),
            ("500K", Some(500 << 10)),
            ("64KiB", Some(64 << 10)),
            ("100000", Some(100_000)),
            ("0", None),
            ("-1", None),
            ("fast", None),
            ("M", None),
            ("nan", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), bytes, "{text}");
        }
    }
}
