//! How does a watch lie? Events lost, told twice, late or out of order, and watches that end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::sync::mpsc::{Sender, channel};
use tower::BoxError;

use super::{KubeFaults, OVERTAKEN_WITHIN, ResponseBody, answer};

/// What happens to an event of a watch. Bookmarks pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// It never arrives.
    Lost,
    /// It arrives twice.
    Twice,
    /// It arrives this much later, and all behind it too.
    Late(Duration),
    /// The next one overtakes it.
    Overtaken,
    /// An ERROR with code 410 arrives in its place, and the watch ends.
    Expired,
    /// The watch ends in its place.
    Ended,
}

/// The same watch, with the faults that are planned.
pub fn distorted(body: ResponseBody, faults: KubeFaults) -> ResponseBody {
    let (to, lines) = channel(64);
    let mut outages = faults.lock().outages.subscribe();
    tokio::spawn(async move {
        let mut pump = Pump { faults, to: to.clone(), held: None };
        tokio::select! {
            () = to.closed() => {} // the client has given the watch up
            _ = outages.changed() => drop(to.send(Err(answer::broken())).await),
            result = pump.run(body) => if let Err(error) = result {
                let _ = to.send(Err(error)).await;
            },
        }
    });
    let stream = futures::stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)));
    BodyExt::boxed_unsync(StreamBody::new(Box::pin(stream)))
}

struct Pump {
    faults: KubeFaults,
    to: Sender<Result<Frame<Bytes>, BoxError>>,
    /// The event that is to be overtaken.
    held: Option<Bytes>,
}

impl Pump {
    async fn run(&mut self, body: ResponseBody) -> Result<(), BoxError> {
        let mut data = body.into_data_stream();
        let mut buffer = BytesMut::new();
        loop {
            let holding = self.held.is_some();
            let wait = if holding { OVERTAKEN_WITHIN } else { Duration::from_secs(3600) };
            match tokio::time::timeout(wait, data.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(chunk)) => buffer.extend(chunk?),
                Err(_) => {} // nobody overtakes it
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1).freeze();
                if !self.line(line).await? {
                    return Ok(());
                }
            }
            if holding && let Some(held) = self.held.take() {
                self.send(held).await?;
            }
        }
    }

    /// False ends the watch.
    async fn line(&mut self, line: Bytes) -> Result<bool, BoxError> {
        if !is_event(&line) {
            return self.send(line).await;
        }
        if let Some(held) = self.held.take() {
            self.send(line).await?;
            return self.send(held).await;
        }
        match self.faults.next_event() {
            None => self.send(line).await,
            Some(WatchFault::Lost) => Ok(true),
            Some(WatchFault::Ended) => Ok(false),
            Some(WatchFault::Overtaken) => {
                self.held = Some(line);
                Ok(true)
            }
            Some(WatchFault::Twice) => {
                self.send(line.clone()).await?;
                self.send(line).await
            }
            Some(WatchFault::Late(time)) => {
                tokio::time::sleep(time).await;
                self.send(line).await
            }
            Some(WatchFault::Expired) => {
                let event = json!({"type": "ERROR", "object": answer::failure(410)});
                self.send(format!("{event}\n").into()).await?;
                Ok(false)
            }
        }
    }

    async fn send(&self, line: Bytes) -> Result<bool, BoxError> {
        self.to.send(Ok(Frame::data(line))).await.map_err(|_| answer::broken())?;
        Ok(true)
    }
}

fn is_event(line: &Bytes) -> bool {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
        return false;
    };
    ["ADDED", "MODIFIED", "DELETED"].iter().any(|kind| event["type"] == **kind)
}
