//! What a page costs in either flavour of LTX: `flavour DATABASE ROUNDS`. The flavours take turns; the best round of each counts.
#![allow(dead_code, unused_imports)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

#[path = "../../../src/ltx/mod.rs"]
mod ltx;
#[path = "../../../src/page.rs"]
mod page;

use ltx::{Decoder, Encoder, Flavour, Header, Txid, WalPosition};
use page::{PageSize, Pgno};

/// The system's allocator, which counts its calls.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, len) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Nanoseconds that this thread has run: what others do on the machine is not in it.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[derive(Clone, Copy)]
struct Cost {
    encode_ns: u64,
    decode_ns: u64,
    bytes: u64,
    allocations: u64,
}

fn measure(flavour: Flavour, header: Header, pages: &[&[u8]], file: &mut Vec<u8>) -> Cost {
    file.clear();
    let (start, allocated) = (cpu_ns(), ALLOCATIONS.load(Ordering::Relaxed));
    let mut encoder = Encoder::with_flavour(&mut *file, header, flavour).expect("a header");
    for (number, page) in (1..).zip(pages) {
        encoder.page(Pgno::new(number).expect("not zero"), page).expect("a page");
    }
    let bytes = encoder.finish().expect("every page").size;
    let (end, allocations) = (cpu_ns(), ALLOCATIONS.load(Ordering::Relaxed) - allocated);
    let mut decoder = Decoder::new(&file[..]).expect("a header");
    let mut page = vec![0; header.page_size.bytes()];
    while decoder.next_page(&mut page).expect("a page").is_some() {}
    decoder.finish().expect("verified");
    Cost { encode_ns: end - start, decode_ns: cpu_ns() - end, bytes, allocations }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let database = std::fs::read(&args[1]).expect("read the database");
    let page_size = PageSize::from_db_header(u16::from_be_bytes([database[16], database[17]])).expect("a page size");
    let pages: Vec<&[u8]> = database.chunks_exact(page_size.bytes()).collect();
    let count = pages.len() as u64;
    let header = Header {
        page_size,
        commit: count as u32,
        min_txid: Txid::FIRST,
        max_txid: Txid::FIRST,
        timestamp_ms: 0,
        wal: WalPosition::default(),
    };
    let flavours = [("LZ4 frames", Flavour::Frame), ("LZ4 blocks", Flavour::Block)];
    let mut best: [Option<Cost>; 2] = [None; 2];
    let mut file = Vec::with_capacity(database.len() * 2);
    for _ in 0..args[2].parse().expect("a number of rounds") {
        for ((_, flavour), best) in flavours.iter().zip(&mut best) {
            let cost = measure(*flavour, header, &pages, &mut file);
            let so_far = best.unwrap_or(cost);
            *best = Some(Cost {
                encode_ns: cost.encode_ns.min(so_far.encode_ns),
                decode_ns: cost.decode_ns.min(so_far.decode_ns),
                ..cost
            });
        }
    }
    for ((name, _), cost) in flavours.iter().zip(best) {
        let Some(cost) = cost else { continue };
        println!(
            "    {name}  {:6.2} µs to write  {:6.2} µs to read  {:8.1} bytes   ({} allocations in all)",
            cost.encode_ns as f64 / count as f64 / 1000.0,
            cost.decode_ns as f64 / count as f64 / 1000.0,
            cost.bytes as f64 / count as f64,
            cost.allocations,
        );
    }
}
