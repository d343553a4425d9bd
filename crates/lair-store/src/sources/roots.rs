//! Whose certificates are trusted: the system's where there is a bundle, else the Mozilla roots compiled in.
//!
//! A company's proxy that signs for itself has its authority in the system's bundle, so that bundle comes first.
//! `SSL_CERT_FILE` replaces it, as OpenSSL reads that variable; `LAIR_CA_FILE` adds to it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::transfer::TransferSettings;

/// Where systems keep their bundle: Debian and Alpine, Fedora, openSUSE, FreeBSD, macOS with its own OpenSSL.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/ssl/cert.pem",
];
/// The Mozilla bundle has 220 kB.
const BUNDLE_BYTES_MAX: u64 = 8 << 20;

/// What the settings say about trust.
pub(crate) fn tls_config(settings: &TransferSettings) -> Result<TlsConfig, String> {
    let mut roots = match &settings.roots_file {
        Some(file) => read(file)?,
        None => system_roots(),
    };
    if let Some(file) = &settings.extra_roots_file {
        // Where there is no bundle this alone is trusted: the compiled-in roots cannot be mixed with files, and
        // trusting fewer is the safe side.
        roots.extend(read(file)?);
    }
    Ok(if roots.is_empty() { TlsConfig::default() } else { with(roots) })
}

fn with(roots: Vec<Certificate<'static>>) -> TlsConfig {
    TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build()
}

fn system_roots() -> Vec<Certificate<'static>> {
    // A bundle that cannot be read is as good as none: the compiled-in roots take its place.
    BUNDLES.iter().find_map(|path| read(Path::new(path)).ok().filter(|found| !found.is_empty())).unwrap_or_default()
}

/// The certificates of a PEM file.
fn read(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let bad = |problem: String| format!("the certificates in `{}` cannot be used: {problem}", path.display());
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    file.take(BUNDLE_BYTES_MAX).read_to_end(&mut pem).map_err(|error| bad(error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None })
        .collect();
    if certificates.is_empty() {
        return Err(bad("there is none".to_string()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "no certificate").expect("writes");
        for file in [path, folder.path().join("absent")] {
            let settings = TransferSettings { roots_file: Some(file.clone()), ..TransferSettings::default() };
            let problem = tls_config(&settings).expect_err("refused");
            assert!(problem.contains(&file.display().to_string()), "{problem}");
        }
    }
}
