//! What does a server say that is older than those that pgreeve supports? The least of PostgreSQL 13 that a log-in and a look need.
//!
//! Every other query is refused as one that asks for a column that this version does not have.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const INT4: u32 = 23;
const TEXT: u32 = 25;
const BOOL: u32 = 16;
const PID: i32 = 4711;

/// The server, on a port of 127.0.0.1, for as long as this value lives.
pub struct Ancient {
    pub port: u16,
    accepting: JoinHandle<()>,
}

impl Ancient {
    /// Starts one that lets everybody in.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client));
            }
        });
        Self { port, accepting }
    }
}

impl Drop for Ancient {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    let mut hello = message(b'R', &0_i32.to_be_bytes());
    hello.extend(message(b'K', &[PID.to_be_bytes(), 1_i32.to_be_bytes()].concat()));
    hello.extend(ready());
    client.write_all(&hello).await?;
    let mut is_failed = false;
    loop {
        let tag = client.read_u8().await?;
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        let answer = match tag {
            b'S' => {
                is_failed = false;
                ready()
            }
            b'Q' => [query(&String::from_utf8_lossy(&body)), ready()].concat(),
            _ if is_failed => vec![],
            b'P' if !String::from_utf8_lossy(&body).contains("server_version_num") => {
                is_failed = true;
                message(b'E', b"SERROR\0C42703\0Mcolumn does not exist\0\0")
            }
            b'P' => message(b'1', &[]),
            b'D' => [message(b't', &0_i16.to_be_bytes()), description(&[INT4, TEXT, TEXT, TEXT, BOOL, BOOL, BOOL])].concat(),
            b'B' => message(b'2', &[]),
            b'E' => [server_row(), message(b'C', b"SELECT 1\0")].concat(),
            b'C' => message(b'3', &[]),
            _ => return Ok(()),
        };
        client.write_all(&answer).await?;
    }
}

fn query(sql: &str) -> Vec<u8> {
    let complete = message(b'C', b"SELECT 1\0");
    if sql.contains("pg_backend_pid") {
        return [description(&[TEXT]), row(&[PID.to_string().as_bytes()]), complete].concat();
    }
    complete
}

fn server_row() -> Vec<u8> {
    row(&[&130_022_i32.to_be_bytes(), b"13.22 (Debian 13.22-1)", b"old", b"app", &[0], &[0], &[0]])
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn description(types: &[u32]) -> Vec<u8> {
    let mut body = (types.len() as i16).to_be_bytes().to_vec();
    for oid in types {
        body.extend(b"c\0");
        body.extend([0; 6]); // no table, no column
        body.extend(oid.to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend(0_i16.to_be_bytes());
    }
    message(b'T', &body)
}

fn row(values: &[&[u8]]) -> Vec<u8> {
    let mut body = (values.len() as i16).to_be_bytes().to_vec();
    for value in values {
        body.extend((value.len() as i32).to_be_bytes());
        body.extend(*value);
    }
    message(b'D', &body)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}
