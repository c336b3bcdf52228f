//! CRC-32C (Castagnoli), the checksum of everything the ledger writes.
//!
//! It finds every burst of up to 32 bits and all but one in 2^32 of other changes. Slicing by 16 (Kounavis and Berry,
//! 2005): sixteen tables take sixteen bytes a turn, whose look-ups do not wait for each other.

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Bytes to a turn.
const SLICES: usize = 16;

/// `TABLES[k][b]`: what byte `b` does to the checksum once `k` bytes have followed it.
static TABLES: [[u32; 256]; SLICES] = tables();

const fn tables() -> [[u32; 256]; SLICES] {
    let mut tables = [[0; 256]; SLICES];
    // Two counters of one value: conversions are not for constant functions.
    let (mut byte, mut at) = (0_u32, 0);
    while at < 256 {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][at] = crc;
        byte += 1;
        at += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut at = 0;
        while at < 256 {
            let crc = tables[slice - 1][at];
            tables[slice][at] = (crc >> 8) ^ tables[0][crc.to_le_bytes()[0] as usize];
            at += 1;
        }
        slice += 1;
    }
    tables
}

/// The checksum of some bytes that end with `bytes`, where those before have the checksum `crc`: 0 for none.
pub(crate) fn extend(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let mut turns = bytes.chunks_exact(SLICES);
    for turn in &mut turns {
        let mut mixed = [0; SLICES];
        mixed.copy_from_slice(turn);
        for (byte, crc) in mixed.iter_mut().zip(crc.to_le_bytes()) {
            *byte ^= crc;
        }
        crc = TABLES.iter().rev().zip(mixed).fold(0, |crc, (table, byte)| crc ^ table[usize::from(byte)]);
    }
    for &byte in turns.remainder() {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the polynomial is defined.
    fn naive(bytes: &[u8]) -> u32 {
        let step = |crc, _| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }

    #[test]
    fn agrees_with_the_published_check_values() {
        // RFC 3720, appendix B.4, and the catalogue's "123456789".
        assert_eq!(extend(0, b"123456789"), 0xe306_9283);
        assert_eq!(extend(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(extend(0, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(extend(0, &(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(extend(0, b""), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            prop_assert_eq!(extend(extend(0, &bytes[..cut]), &bytes[cut..]), naive(&bytes));
        }
    }
}
