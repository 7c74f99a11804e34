//! How does the server prove who it is? rustls with the operator's system roots or a given CA.

use std::error::Error as StdError;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Fault, FaultKind, causes};

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
        Tls::VerifyFull { ca: None } => builder()?
            .with_platform_verifier()
            .map_err(|error| fault(format!("system roots cannot be used: {error}")))?
            .with_no_client_auth(),
        Tls::VerifyFull { ca: Some(pem) } => builder()?.with_root_certificates(roots(pem)?).with_no_client_auth(),
        Tls::VerifyCa { ca } => {
            let pem = ca
                .as_deref()
                .ok_or_else(|| fault("tls.mode VerifyCa needs tls.caSecretRef: any name would do for a public CA"))?;
            builder()?.dangerous().with_custom_certificate_verifier(Arc::new(ChainOnly::new(roots(pem)?)?)).with_no_client_auth()
        }
    };
    Ok(Some(MakeRustlsConnect::new(config)))
}

/// The provider is named: a process-wide default would have to be installed by everybody who links this.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Fault> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    builder.map_err(|error| fault(format!("TLS cannot be used: {error}")))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut &*pem) {
        let certificate = certificate.map_err(|error| ca_fault(format!("the CA is not PEM: {error}")))?;
        store.add(certificate).map_err(|error| ca_fault(format!("the CA cannot be used: {error}")))?;
    }
    if store.is_empty() {
        return Err(ca_fault("the CA holds no certificate: it must be PEM, beginning with -----BEGIN CERTIFICATE-----"));
    }
    Ok(store)
}

fn fault(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Tls, message)
}

fn ca_fault(message: impl Into<String>) -> Fault {
    fault(message).advise("Correct the Secret that spec.connection.tls.caSecretRef names")
}

/// The fault that an error of a handshake amounts to; `None` where it is not about TLS.
pub(super) fn fault_of(error: &(dyn StdError + 'static)) -> Option<Fault> {
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return Some(match error {
            rustls::Error::InvalidCertificate(certificate) => certificate_fault(certificate),
            other => fault(format!("the TLS handshake failed: {other}")),
        });
    }
    // The driver exports no kinds; these are the words of its Tls kind.
    let text = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if text.contains("server does not support TLS") {
        let advice = "Turn on ssl on the server, or, where the way to it is safe, set spec.connection.tls.mode to Disable";
        return Some(fault("the server does not support TLS").advise(advice));
    }
    text.contains("TLS handshake").then(|| fault(text))
}

/// rustls prints the present time with some of these; a message must not change from pass to pass.
fn certificate_fault(error: &CertificateError) -> Fault {
    let renew = "Renew the server's certificate and reload the server";
    let at = |time: &UnixTime| {
        let time = i64::try_from(time.as_secs()).ok().and_then(|second| Timestamp::from_second(second).ok());
        time.map(|time| format!(" at {time}")).unwrap_or_default()
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            fault(format!("the server's certificate expired{}", at(not_after))).advise(renew)
        }
        CertificateError::Expired => fault("the server's certificate has expired").advise(renew),
        CertificateError::NotValidYetContext { not_before, .. } => {
            fault(format!("the server's certificate becomes valid only{}", at(not_before)))
                .advise("Check the clocks of the server and of the operator's node")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => fault(error.to_string()).advise(
            "Set spec.connection.host to a name that the certificate carries, give the server a certificate for this name, or set spec.connection.tls.mode to VerifyCa",
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            fault("the server's certificate does not come from a CA that is trusted here")
                .advise("Give the CA that issued it in spec.connection.tls.caSecretRef")
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            fault("the server's certificate is self-signed: it is a CA of its own")
                .advise("Give the server a certificate that a CA issued, and that CA in spec.connection.tls.caSecretRef")
        }
        other => fault(format!("the server's certificate cannot be verified: {other}")),
    }
}

/// Verifies the chain and leaves the name aside.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ChainOnly {
    fn new(roots: RootCertStore) -> Result<Self, Fault> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        verifier.map(Self).map_err(|error| ca_fault(format!("the CA cannot be used: {error}")))
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
