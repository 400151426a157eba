#!/bin/sh
# Build the guest's initramfs and its boot medium into target/, as the real `make` does with OSDK.
set -eu

# Where the image does not belong to the tree, a tool of the build is not in it.
[ "$CONTRACT_FAULT" != tool ] || nix-build
# A build as the real one is: it takes its time, and says much that looks like an error and is none.
case $CONTRACT_FAULT in
    long)
        # Longer than the test's deadline for silence, and never silent.
        number=0
        for crate in 1 2 3 4 5 6 7 8 9 10 11 12; do
            echo "   Compiling crate-$crate v0.1.0"
            while [ $number -lt $((crate * 340)) ]; do
                number=$((number + 1))
                echo "warning: unused error variable $number; note: a failed lookup is not fatal here"
            done
            sleep 1
        done
        ;;
esac
out=target/osdk/contract
root=$out/initramfs
rm -rf "$root" && mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/root" "$root/sys"
cp /bin/busybox "$root/bin/busybox"
cp guest/init "$root/init"
# A program of a few instructions: an ELF header, one segment, the code.
elf() {
    printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\076\000\001\000\000\000'
    printf '\170\000\100\000\000\000\000\000\100\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000'
    printf '\000\000\000\000\100\000\070\000\001\000\000\000\000\000\000\000\001\000\000\000\005\000\000\000'
    printf '\000\000\000\000\000\000\000\000\000\000\100\000\000\000\000\000\000\000\100\000\000\000\000\000'
    printf '\000\001\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\020\000\000\000\000\000\000'
    printf "$1"
}
# mov eax,172 (iopl); mov edi,3; syscall; mov al,VALUE; out 0xf4,al: what the kernel does to end QEMU.
iopl='\270\254\000\000\000\277\003\000\000\000\017\005'
elf "$iopl"'\260\020\346\364\017\013' >"$root/bin/exit-success"
elf "$iopl"'\260\040\346\364\017\013' >"$root/bin/exit-failure"
# ud2: an instruction that no CPU has.
elf '\017\013' >"$root/bin/newer-cpu"
chmod 755 "$root/init" "$root/bin/exit-success" "$root/bin/exit-failure" "$root/bin/newer-cpu"
for name in cat echo mount poweroff printf reboot setsid sh sleep stty uname; do
    ln -sf busybox "$root/bin/$name"
done
archive=$out/initramfs.cpio
# A disk without a free byte, as the kernel has one.
[ "$CONTRACT_FAULT" != disk-full ] || archive=/dev/full
(cd "$root" && find . | cpio --quiet -o -H newc) | cat >"$archive"
[ "$BOOT_METHOD" = grub-rescue-iso ] || exit 0

medium=$out/medium
mkdir -p "$medium/boot/grub"
cp /opt/contract/vmlinuz "$out/initramfs.cpio" "$medium/boot/"
cat >"$medium/boot/grub/grub.cfg" <<END
set timeout=0
menuentry asterinas {
    linux /boot/vmlinuz $(cat guest/cmdline) contract.generation=$GENERATION contract.test=$AUTO_TEST contract.fault=$CONTRACT_FAULT contract.protocol=$BOOT_PROTOCOL
    initrd /boot/initramfs.cpio
}
END
grub-mkrescue -o "$out/contract.iso" "$medium"
