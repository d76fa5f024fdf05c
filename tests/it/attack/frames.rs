//! HTTP/2 frames, written and read by hand.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// The preface and settings; `window` is `SETTINGS_INITIAL_WINDOW_SIZE`.
pub(super) fn hello(window: u32) -> Vec<u8> {
    let setting = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()
}

/// The headers of an upload to `path` with `secret`, in HPACK without Huffman and without the
/// table.
pub(super) fn head(path: &str, secret: &str) -> Vec<u8> {
    // POST, https; then a literal path, authority and secret.
    let mut block = vec![0x83, 0x87];
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    };
    block.push(0x04);
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "x");
    block.push(0x00);
    text(&mut block, "x-logpush-secret");
    text(&mut block, secret);
    block
}

/// `count` header fields of a byte each, which the receiver expands to about 100 bytes each: `age`
/// and `via` are short enough that 450 of them are within the limit of 16 KiB.
pub(super) fn indexed(count: usize) -> Vec<u8> {
    [0x95, 0xbc].into_iter().cycle().take(count).collect()
}

/// A received frame.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) payload: Vec<u8>,
}

/// Removes the complete frames from the front of `bytes`.
pub(super) fn frames(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let Some(head) = bytes.get(..9) else { return frames };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        if bytes.len() < 9 + length {
            return frames;
        }
        let payload = bytes[9..9 + length].to_vec();
        bytes.drain(..9 + length);
        frames.push(Frame { kind, flags, payload });
    }
}
