//! States as platforms hand them back: arrays, single objects or lines, with nulls and members
//! named twice.

use std::collections::HashMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Descriptor;
use crate::fault::Fault;
use crate::log;
use crate::silo::Cursor;

/// The content of a stream's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StreamState {
    /// Our cursor; null where the stream has none and is read in full every time.
    pub(super) cursor: Option<Value>,
    /// The property that the read went by, where it went by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor_field: Option<Vec<String>>,
    /// Whether a read of everything is under way, which another may take up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unfinished: bool,
}

impl StreamState {
    /// Reads a state of ours. Null and an empty object stand for none.
    pub(super) fn read(state: &Value) -> Result<Option<StreamState>> {
        let Some(members) = state.as_object() else {
            return if state.is_null() { Ok(None) } else { Err(foreign()) };
        };
        if members.is_empty() {
            return Ok(None);
        }
        match members.contains_key("cursor") {
            true => serde_json::from_value(state.clone()).map(Some).map_err(|_| foreign()),
            false => Err(foreign()),
        }
    }

    pub(super) fn since(&self) -> Option<Cursor> {
        self.cursor.clone().map(Cursor)
    }
}

fn foreign() -> anyhow::Error {
    Fault::config(
        "the stream's state was not written by this connector or version: reset the stream, or \
         read without the state",
    )
    .into()
}

/// The last state of each stream.
pub(super) fn parse(text: &str) -> Result<HashMap<Descriptor, Value>> {
    let mut states = HashMap::new();
    let broken = || Fault::config("the state is not JSON: pass it as it was printed, or []");
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(messages)) => {
            messages.iter().try_for_each(|message| take(message, &mut states))?;
        }
        Ok(message) => take(&message, &mut states)?,
        Err(_) => {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                let message = serde_json::from_str(line).map_err(|_| broken())?;
                take(&message, &mut states)?;
            }
        }
    }
    Ok(states)
}

/// Takes up one message. Values are looked at as they are, because platforms write members twice
/// and nulls where nothing is.
fn take(message: &Value, states: &mut HashMap<Descriptor, Value>) -> Result<()> {
    // What `read` printed is taken as it is.
    let message = match message.get("state") {
        Some(state) if message.get("type") == Some(&Value::from("STATE")) => state,
        _ => message,
    };
    let present = |name: &str| message.get(name).filter(|value| !value.is_null());
    let mut one = |stream: &Value| -> Result<()> {
        let descriptor = Descriptor::deserialize(&stream["stream_descriptor"])
            .map_err(|_| Fault::config("the state has a stream without a `stream_descriptor`"))?;
        let state = stream.get("stream_state").cloned().unwrap_or_default();
        states.insert(descriptor.cleaned(), state);
        Ok(())
    };
    if let Some(stream) = present("stream") {
        return one(stream);
    }
    if let Some(global) = present("global").or_else(|| present("global_")) {
        return global["stream_states"].as_array().into_iter().flatten().try_for_each(one);
    }
    match message {
        Value::Null => Ok(()),
        Value::Object(members) if members.is_empty() => Ok(()),
        Value::Object(members) if members.get("type") == Some(&Value::from("LEGACY")) => {
            log::warn("the state is of a form that names no streams, and is left aside");
            Ok(())
        }
        _ => Err(Fault::config(
            "the state is none of this protocol: it should be a list of messages with a `stream`",
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn orders(text: &str) -> Value {
        let states = parse(text).unwrap();
        states.get(&Descriptor { name: "orders".to_owned(), namespace: None }).cloned().unwrap()
    }

    const STREAM: &str = r#"{"type":"STREAM","stream":{"stream_descriptor":{"name":"orders"},"stream_state":{"cursor":1}}}"#;

    #[test]
    fn every_form_in_which_platforms_hand_a_state_back_is_read() {
        for text in ["[]", "{}", "null", "", "\n", r#"[{"type":"LEGACY","data":{"orders":1}}]"#] {
            assert!(parse(text).unwrap().is_empty(), "{text}");
        }
        let twice = r#"[{"type":"STREAM","stream":{"stream_descriptor":{"name":"orders","namespace":null},"stream_state":{"cursor":1}},"global_":null,"data":null,"sourceStats":{"recordCount":3.0,"rejectedRecordCount":null},"global_":null}]"#;
        let global = r#"{"type":"GLOBAL","stream":null,"global":{"shared_state":null,"stream_states":[{"stream_descriptor":{"name":"orders","namespace":""},"stream_state":{"cursor":1}}]}}"#;
        let printed = format!(r#"{{"type":"STATE","state":{STREAM}}}"#);
        for text in [
            STREAM,
            &format!("[{STREAM}]"),
            &format!("{STREAM}\n{STREAM}\n"),
            &printed,
            twice,
            global,
            &global.replace("\"global\"", "\"global_\""),
        ] {
            assert_eq!(orders(text), json!({"cursor": 1}), "{text}");
        }
    }

    #[test]
    fn the_last_state_of_a_stream_counts() {
        let text = format!("{STREAM}\n{}", STREAM.replace("\"cursor\":1", "\"cursor\":2"));
        assert_eq!(orders(&text), json!({"cursor": 2}));
    }

    #[test]
    fn what_is_no_state_of_ours_is_refused() {
        for text in ["[", "7", r#"{"bookmarks":{}}"#, r#"[{"stream":{"stream_state":{}}}]"#] {
            assert!(parse(text).is_err(), "{text}");
        }
        for state in [json!({"updated_at": 1}), json!([1]), json!({"cursor": 1, "unfinished": 7})] {
            assert!(StreamState::read(&state).is_err(), "{state}");
        }
        assert!(StreamState::read(&json!(null)).unwrap().is_none(), "a reset");
        assert!(StreamState::read(&json!({})).unwrap().is_none());
    }
}
