//! How are the messages of PostgreSQL's protocol told apart? Framing, and the few that the proxy writes itself.
//!
//! From the manual: <https://www.postgresql.org/docs/18/protocol-message-formats.html>.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The version number that begins an ordinary connection.
pub const PROTOCOL_3: u32 = 196_608;
/// What stands in the version's place when the client asks to cancel another session's query.
pub const CANCEL: u32 = 80_877_102;
/// What stands there when it asks for TLS.
pub const TLS: u32 = 80_877_103;
/// What stands there when it asks for GSSAPI encryption.
pub const GSS: u32 = 80_877_104;

/// The first message of a connection, which has no type byte.
pub struct Startup {
    /// The protocol version, or a special request.
    pub code: u32,
    /// The whole message.
    pub bytes: Vec<u8>,
}

/// Any later message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its type byte.
    pub tag: u8,
    /// The whole message, type and length included.
    pub bytes: Vec<u8>,
}

impl Message {
    /// What follows type and length.
    pub fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }

    fn new(tag: u8, body: &[u8]) -> Self {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        Self { tag, bytes }
    }

    /// A simple query.
    pub fn query(sql: &str) -> Self {
        Self::new(b'Q', format!("{sql}\0").as_bytes())
    }

    /// An error that ends the connection.
    pub fn fatal(sqlstate: &str, text: &str) -> Self {
        Self::new(b'E', format!("SFATAL\0VFATAL\0C{sqlstate}\0M{text}\0\0").as_bytes())
    }
}

/// Reads the first message of a connection; `None` at its end.
pub async fn read_startup(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Startup>> {
    let Some(mut bytes) = read_length(from).await? else {
        return Ok(None);
    };
    read_rest(from, &mut bytes, 0).await?;
    let code = bytes.get(4..8).ok_or_else(too_short)?;
    Ok(Some(Startup { code: u32::from_be_bytes(code.try_into().unwrap()), bytes }))
}

/// Reads the next message; `None` at the end of the connection.
pub async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Message>> {
    let tag = match from.read_u8().await {
        Ok(tag) => tag,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![tag];
    bytes.extend(read_length(from).await?.ok_or_else(too_short)?);
    read_rest(from, &mut bytes, 1).await?;
    Ok(Some(Message { tag, bytes }))
}

async fn read_length(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>> {
    let mut length = vec![0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// `bytes` ends with the length, which counts itself but not the `before` bytes in front of it.
async fn read_rest(from: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>, before: usize) -> Result<()> {
    let length = u32::from_be_bytes(bytes[before..before + 4].try_into().unwrap()) as usize;
    let have = bytes.len();
    bytes.resize(have + length.checked_sub(4).ok_or_else(too_short)?, 0);
    from.read_exact(&mut bytes[have..]).await?;
    Ok(())
}

fn too_short() -> Error {
    Error::new(ErrorKind::InvalidData, "message is too short")
}

/// The text before the next zero byte, and what follows that.
pub fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes.get(end + 1..).unwrap_or_default())
}
