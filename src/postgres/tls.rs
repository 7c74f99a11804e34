//! How does the server prove who it is? rustls with the operator's system roots or a given CA.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Fault, FaultKind};

/// What is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Chain and name.
    VerifyFull {
        /// The CA in PEM; the system's roots without it.
        ca: Option<Vec<u8>>,
    },
    /// The chain alone.
    VerifyCa {
        /// The CA in PEM; the system's roots without it.
        ca: Option<Vec<u8>>,
    },
    /// Nothing: no TLS.
    Disable,
}

/// The connector for a mode; `None` for no TLS.
pub(super) fn connector(tls: &Tls) -> Result<Option<MakeRustlsConnect>, Fault> {
    let config = match tls {
        Tls::Disable => return Ok(None),
        Tls::VerifyFull { ca: None } => {
            ClientConfig::with_platform_verifier().map_err(|error| fault(format!("system roots cannot be used: {error}")))?
        }
        Tls::VerifyFull { ca: Some(pem) } => ClientConfig::builder().with_root_certificates(roots(pem)?).with_no_client_auth(),
        Tls::VerifyCa { ca } => {
            let pem = ca
                .as_deref()
                .ok_or_else(|| fault("tls.mode VerifyCa needs tls.caSecretRef: any name would do for a public CA"))?;
            ClientConfig::builder()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(ChainOnly::new(roots(pem)?)?))
                .with_no_client_auth()
        }
    };
    Ok(Some(MakeRustlsConnect::new(config)))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut &*pem) {
        let certificate = certificate.map_err(|error| fault(format!("the CA is not PEM: {error}")))?;
        store.add(certificate).map_err(|error| fault(format!("the CA cannot be used: {error}")))?;
    }
    if store.is_empty() {
        return Err(fault("the CA holds no certificate: it must be PEM, beginning with -----BEGIN CERTIFICATE-----"));
    }
    Ok(store)
}

fn fault(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Tls, message)
}

/// Verifies the chain and leaves the name aside.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ChainOnly {
    fn new(roots: RootCertStore) -> Result<Self, Fault> {
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build();
        verifier.map(Self).map_err(|error| fault(format!("the CA cannot be used: {error}")))
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
