#!/bin/sh
# Run QEMU on what build.sh made, and turn its exit code into make's: 0 (33 or 0), 1 (65), 2 (anything else).
# The options are the documented ones; CONTRACT_FAULT spoils one of them, and QEMU or the guest does the rest.
set -u
generation=$GENERATION
out=target/osdk/contract
firmware=/root/ovmf/release/OVMF.fd
qemu=qemu-system-x86_64
machine=q35,kernel-irqchip=split
initrd=$out/initramfs.cpio
fault=$CONTRACT_FAULT

case $fault in
    no-firmware) firmware=/root/ovmf/missing/OVMF.fd ;;
    no-initrd) initrd=$out/initramfs.missing ;;
    machine) machine=q36 ;;
    old-qemu) qemu=qemu-system-i386 ;;
    memory) MEM=900T ;;
    low-memory) MEM=64M ;;
    port)
        # Somebody has the port already: another machine of this container.
        $qemu -nodefaults -display none -S -accel tcg -daemonize -pidfile "$out/other.pid" \
            -netdev "user,id=n,hostfwd=tcp::$SSH_PORT-:22" -device virtio-net-pci,netdev=n,romfile=
        ;;
esac

set -- -m "$MEM" -smp "$SMP" -vga none -nographic -nodefaults --no-reboot -bios "$firmware"
if [ "$INTEL_TDX" = 1 ]; then
    set -- "$@" -cpu host,-kvm-steal-time,pmu=off -machine "$machine,confidential-guest-support=tdx0" -accel kvm \
        -object '{ "qom-type": "tdx-guest", "id": "tdx0", "sept-ve-disable": true, "quote-generation-socket": { "type": "vsock", "cid": "1", "port": "4050" } }'
else
    set -- "$@" -cpu Icelake-Server,+x2apic -machine "$machine"
    [ "$ENABLE_KVM" = 0 ] || set -- "$@" -accel kvm
fi
if [ "$BOOT_METHOD" = grub-rescue-iso ]; then
    set -- "$@" -drive "file=$out/contract.iso,format=raw,index=2,media=cdrom"
else
    append="$(cat guest/cmdline) contract.generation=$generation contract.test=$AUTO_TEST contract.fault=$fault contract.protocol=$BOOT_PROTOCOL"
    set -- "$@" -kernel /opt/contract/vmlinuz -initrd "$initrd" -append "$append"
    # Without firmware of its own the kernel is started by QEMU's loader, in a third of the time.
    [ "$fault" = no-firmware ] || set -- "$@" -bios bios-256k.bin
fi
for disk in ext2 exfat; do
    set -- "$@" -drive "if=none,format=raw,id=$disk,file=./initramfs/build/$disk.img" \
        -device "virtio-blk-pci,drive=$disk,serial=v$disk"
done
set -- "$@" -netdev "user,id=net01,hostfwd=tcp::$SSH_PORT-:22" -device virtio-net-pci,netdev=net01,romfile= \
    -device isa-debug-exit,iobase=0xf4,iosize=0x04 -chardev stdio,id=mux,mux=on,signal=off,logfile=qemu.log
case $generation in
    0.9.0) set -- "$@" -serial chardev:mux -monitor chardev:mux ;;
    *) set -- "$@" -serial file:qemu-serial.log -serial chardev:mux -monitor chardev:mux ;;
esac

case $fault in
    screen) set -- "$@" -display vnc=0.0.0.0:42 ;;
    killed) (sleep 2 && kill -KILL 1) & ;;
esac
[ "$fault" != screen ] || $qemu -nodefaults -S -accel tcg -display vnc=0.0.0.0:42 -daemonize -pidfile "$out/screen.pid"
echo "[$generation] Forwarded QEMU guest port: $SSH_PORT->22" >&2
$qemu "$@"
status=$?
case $status in
    0 | 33) ;;
    65) exit 1 ;;
    *) exit 2 ;;
esac
[ "$AUTO_TEST" = none ] || sh ./auto_test.sh "$AUTO_TEST"
