//! The frame: one visit to a record, as bytes that say by themselves whether they are whole.
//!
//! Little-endian words of 32 bits: a mark, the step, the record, the number n of its response tokens, the checksum of
//! these 16 bytes, n PIRs and n log-probs without the profile (float32), and the checksum of all values, which goes on
//! from the first. A frame needs nothing around it: ranks exchange them as they stand in the journal.

use crate::convert::index;
use crate::crc;

/// Bytes of a frame before its values.
pub(crate) const HEADER_BYTES: usize = 20;

/// Bytes of a frame after its values.
const CHECKSUM_BYTES: usize = 4;

/// Bytes of a frame without values.
pub(crate) const FRAME_BYTES: usize = HEADER_BYTES + CHECKSUM_BYTES;

/// Bytes that a token's two values take in a frame.
pub(crate) const VALUE_BYTES: usize = 8;

/// What every frame starts with; no float of a PIR's size looks like it.
pub(crate) const MARK: [u8; 4] = *b"\xffPIR";

/// What was computed for a record: one value a response token in each slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit<'a> {
    pub(crate) step: u32,
    pub(crate) record: u32,
    pub(crate) pir: &'a [f32],
    pub(crate) logp_without: &'a [f32],
}

/// A frame's first 20 bytes, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) step: u32,
    pub(crate) record: u32,
    pub(crate) tokens: u32,
    checksum: u32,
}

/// A whole frame, checked, its values still bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pir: &'a [u8],
    logp_without: &'a [u8],
}

impl Visit<'_> {
    /// Appends the frame of a visit. Both slices are of one length, of less than 2^32.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let tokens = u32::try_from(self.pir.len()).expect("checked by the journal");
        let start = out.len();
        out.extend_from_slice(&MARK);
        for word in [self.step, self.record, tokens] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let checksum = crc::extend(0, &out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
        let values = out.len();
        for part in [self.pir, self.logp_without] {
            append_floats(part, out);
        }
        let checksum = crc::extend(checksum, &out[values..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }
}

impl Header {
    /// The header at the start of some bytes, or `None` where there is none or it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let checksum = word(bytes, 16);
        if bytes[..4] != MARK || crc::extend(0, &bytes[..16]) != checksum {
            return None;
        }
        Some(Self { step: word(bytes, 4), record: word(bytes, 8), tokens: word(bytes, 12), checksum })
    }

    /// Bytes of the whole frame.
    pub(crate) fn bytes(&self) -> usize {
        // On a 32-bit system no buffer holds such a frame: the largest number says so.
        index(self.tokens).saturating_mul(VALUE_BYTES).saturating_add(FRAME_BYTES)
    }
}

impl<'a> Frame<'a> {
    /// The frame at the start of some bytes, or `None` where there is none, or it is damaged or not whole.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::decode(bytes)?;
        let bytes = bytes.get(..header.bytes())?;
        let values = &bytes[HEADER_BYTES..bytes.len() - CHECKSUM_BYTES];
        let whole = crc::extend(header.checksum, values) == word(bytes, bytes.len() - CHECKSUM_BYTES);
        whole.then(|| Self::view(header, bytes))
    }

    /// Views the bytes of a frame that was decoded before.
    pub(crate) fn view(header: Header, bytes: &'a [u8]) -> Self {
        let values = &bytes[HEADER_BYTES..bytes.len() - CHECKSUM_BYTES];
        let (pir, logp_without) = values.split_at(values.len() / 2);
        Self { header, pir, logp_without }
    }

    pub(crate) fn pir(&self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        floats(self.pir)
    }

    pub(crate) fn logp_without(&self) -> impl ExactSizeIterator<Item = f32> + Clone + use<'a> {
        floats(self.logp_without)
    }
}

/// Appends numbers as little-endian bytes, as fast as copying.
pub(crate) fn append_floats(numbers: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + numbers.len() * 4, 0);
    for (bytes, number) in out[start..].chunks_exact_mut(4).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
}

/// Numbers from little-endian bytes.
pub(crate) fn floats(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> + Clone {
    bytes.chunks_exact(4).map(|bytes| f32::from_bits(word(bytes, 0)))
}

/// The little-endian word at a place of some bytes.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
