use core::mem::offset_of;
use core::num::{NonZeroU16, NonZeroU64};

use hermit_entry::boot_info::{HardwareInfo, LoadInfo, PlatformInfo, TlsInfo};

use super::*;

fn raw(platform_info: PlatformInfo) -> RawBootInfo {
    let info = BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 1..2,
            serial_port_base: NonZeroU16::new(0x3f8),
            device_tree: NonZeroU64::new(4),
        },
        load_info: LoadInfo {
            kernel_image_addr_range: 5..6,
            tls_info: Some(TlsInfo { start: 7, filesz: 8, memsz: 9, align: 10 }),
        },
        platform_info,
    };
    RawBootInfo::from(info)
}

fn multiboot(command_line: &'static str) -> PlatformInfo {
    PlatformInfo::Multiboot { command_line: Some(command_line), multiboot_info_addr: NonZeroU64::MIN }
}

/// Returns boot information with one word, or half of one, changed.
fn changed<const N: usize>(mut raw: RawBootInfo, offset: usize, bytes: [u8; N]) -> RawBootInfo {
    assert!(offset + N <= size_of::<RawBootInfo>());
    // SAFETY: it stays within the structure; what it holds is looked at by `read` alone, which takes any bits.
    let target = unsafe { (&raw mut raw).cast::<u8>().add(offset) };
    // SAFETY: as above.
    unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), N) };
    raw
}

#[test]
fn the_layout_is_hermit_entrys() {
    let raw = raw(multiboot("hello"));
    // SAFETY: any bit pattern is valid for it, and size and alignment are asserted.
    let words = unsafe { &*ptr::from_ref(&raw).cast::<Words>() };
    assert_eq!(words.physical, [1, 2]);
    assert_eq!(words.device_tree, 4);
    assert_eq!(words.image, [5, 6]);
    assert_eq!(words.tls, [7, 8, 9, 10]);
    assert_eq!(words.tag, 0);
    assert_eq!(payload(words, 1), 5);
    assert_eq!(payload(words, 2), 1);
    assert_eq!((offset_of!(Words, serial_port), offset_of!(Words, tag), offset_of!(Words, payload)), (16, 80, 88));
}

#[test]
fn garbage_in_unused_halves_is_not_read() {
    let raw = changed(raw(multiboot("hello")), offset_of!(Words, unused), [0xa5; 4]);
    let raw = changed(raw, offset_of!(Words, serial_port) + size_of::<u16>(), [0xa5; 6]);
    let info = read(&raw).unwrap();
    assert_eq!(info.hardware_info.serial_port_base, NonZeroU16::new(0x3f8));
    assert!(matches!(info.platform_info, PlatformInfo::Multiboot { command_line: Some("hello"), .. }));
}

#[test]
fn what_hermit_entry_would_panic_on_is_refused() {
    let tag = offset_of!(Words, tag);
    let payload = offset_of!(Words, payload);
    for unknown in [4_u32, 5, u32::MAX] {
        let raw = changed(raw(PlatformInfo::Fdt), tag, unknown.to_ne_bytes());
        assert_eq!(read(&raw).unwrap_err(), BootError::Platform { tag: unknown });
    }
    let line = raw(multiboot("hello"));
    let refused = |offset: usize, value: u64| read(&changed(line, payload + offset, value.to_ne_bytes())).unwrap_err();
    assert_eq!(refused(8, 1 << 40), BootError::LongCommandLine { bytes: 1 << 40 });
    assert_eq!(refused(0, b"\xff\xff\xff\xff\xff".as_ptr().expose_provenance() as u64), BootError::CommandLineText);
    assert!(matches!(refused(16, 0), BootError::Payload(_)));

    let uhyve = changed(raw(PlatformInfo::Fdt), tag, 1_u32.to_ne_bytes());
    let facts = |flag: u8, cpus: u64, time: i128| {
        let raw = changed(uhyve, payload, [flag]);
        let raw = changed(raw, payload + 8, cpus.to_ne_bytes());
        read(&changed(raw, payload + 24, time.to_ne_bytes()))
    };
    assert!(facts(1, 2, 3).is_ok());
    for (flag, cpus, time) in [(2, 2, 3), (1, 0, 3), (1, 2, i128::MAX), (1, 2, *TIMES.end() + 1)] {
        assert!(matches!(facts(flag, cpus, time), Err(BootError::Payload(_))));
    }
    assert!(facts(0, 1, *TIMES.start()).is_ok() && facts(0, 1, *TIMES.end()).is_ok());
}
