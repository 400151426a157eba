# The knobs of the documented Makefile, with its defaults; everything else is in launch.sh.
MEM ?= 1G
SMP ?= 1
ENABLE_KVM ?= 1
INTEL_TDX ?= 0
AUTO_TEST ?= none
BOOT_METHOD ?= grub-rescue-iso
BOOT_PROTOCOL ?= multiboot2
RELEASE ?= 0
SSH_PORT ?= 10027
CONTRACT_FAULT ?= none

# The faults that need TDX get it by themselves: labkit would refuse to ask for it on a host without.
ifneq ($(filter td old-qemu,$(CONTRACT_FAULT)),)
override INTEL_TDX := 1
endif

export GENERATION MEM SMP ENABLE_KVM INTEL_TDX AUTO_TEST BOOT_METHOD BOOT_PROTOCOL RELEASE SSH_PORT CONTRACT_FAULT

.PHONY: build launch

build:
	$(MAKE) --no-print-directory -C initramfs
	@sh ./build.sh

launch: build
	@sh ./launch.sh
