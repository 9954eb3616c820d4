//! Codes many words with reed-solomon-simd on one core, as Walrus does: one call per word, working space reused.
//!
//!     peer encode|decode K N SYMBOL_BYTES WORDS REPEATS      prints the CPU seconds of the fastest repeat
//!
//! `decode` has lost the first min(K, N - K) source symbols.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use std::hint::black_box;

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn encode(k: usize, r: usize, size: usize, words: &[u8], out: &mut [u8]) {
    let mut encoder = ReedSolomonEncoder::new(k, r, size).unwrap();
    for (word, repair) in words.chunks_exact(k * size).zip(out.chunks_exact_mut(r * size)) {
        for symbol in word.chunks_exact(size) {
            encoder.add_original_shard(symbol).unwrap();
        }
        let result = encoder.encode().unwrap();
        for (symbol, target) in result.recovery_iter().zip(repair.chunks_exact_mut(size)) {
            target.copy_from_slice(symbol);
        }
    }
}

fn decode(k: usize, r: usize, size: usize, words: &[u8], repair: &[u8], out: &mut [u8]) {
    let lost = k.min(r);
    let mut decoder = ReedSolomonDecoder::new(k, r, size).unwrap();
    let parts = words.chunks_exact(k * size).zip(repair.chunks_exact(r * size));
    for ((word, repair), found) in parts.zip(out.chunks_exact_mut(k * size)) {
        for (index, symbol) in word.chunks_exact(size).enumerate().skip(lost) {
            decoder.add_original_shard(index, symbol).unwrap();
        }
        for (index, symbol) in repair.chunks_exact(size).enumerate().take(lost) {
            decoder.add_recovery_shard(index, symbol).unwrap();
        }
        let result = decoder.decode().unwrap();
        for (index, symbol) in result.restored_original_iter() {
            found[index * size..(index + 1) * size].copy_from_slice(symbol);
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |i: usize| arguments[i].parse::<usize>().unwrap();
    let (k, n, size, count, repeats) = (number(2), number(3), number(4), number(5), number(6));
    let r = n - k;
    let mut state = 1u32;
    let words: Vec<u8> = (0..k * size * count)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 24) as u8
        })
        .collect();
    let mut repair = vec![1u8; r * size * count];
    let mut found = vec![1u8; k * size * count];
    encode(k, r, size, &words, &mut repair);
    let mut best = f64::MAX;
    for _ in 0..repeats {
        let start = cpu_seconds();
        if arguments[1] == "encode" {
            encode(k, r, size, &words, &mut repair);
        } else {
            decode(k, r, size, &words, &repair, &mut found);
        }
        best = best.min(cpu_seconds() - start);
        black_box((&repair, &found));
    }
    println!("{best}");
}
