//! How RocksDB is set: for keys that ascend and are written once, in bounded memory (write buffers, one shared cache, few
//! open files) and bounded disk space.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, LogLevel, Options};

use crate::Config;

/// For the database as a whole. With `direct` tables are written past the page cache: readers near the end of the log are
/// served from memory, and copying what nobody reads soon cost as much CPU as all the rest of an append.
pub(super) fn db_options(config: &Config, direct: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Appends fill a buffer that the sync thread writes out; RocksDB does so itself whenever it is full.
    options.set_manual_wal_flush(true);
    options.set_use_direct_io_for_flush_and_compaction(direct);
    // What went past the write-ahead log must reach the disk with its position or not at all.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(4 * config.memory_table());
    options.set_max_open_files(256);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_manifest_file_size(4 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// For looking at a database that another process may write.
pub(super) fn view_options() -> Options {
    let mut options = Options::default();
    // A file that goes before it was read is noticed; keeping all of them open could take more descriptors than there are.
    options.set_max_open_files(256);
    options.set_log_level(LogLevel::Warn);
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// Keys ascend and are written once: with one compression on all levels, files move down without being rewritten.
pub(super) fn events_options(config: &Config, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table_options(cache));
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(to_usize(config.memory_table()));
    options.set_max_write_buffer_number(3);
    options.set_target_file_size_base(config.memory_table());
    // Bounds what a compaction needs besides its input.
    options.set_max_compaction_bytes(8 * config.memory_table());
    options
}

/// For `meta` and the unused default family, whose few keys are overwritten all the time.
pub(super) fn small_options(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table_options(cache));
    options.set_write_buffer_size(2 << 20);
    options
}

fn table_options(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_block_size(32 << 10);
    table
}

/// Sizes from the config are far below what a 64-bit `usize` holds; a smaller machine gets the most it can address.
pub(super) fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
