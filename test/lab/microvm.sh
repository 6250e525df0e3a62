#!/bin/bash
# Runs the tests of a whole Shoal with microVMs that `scripts/test microvm` has put into a job.
modprobe kvm-amd
modprobe tun
modprobe nf_tables
modprobe nbd nbds_max=0 max_part=0
ulimit -n 65536
export SHOAL_TEST_LAB=1 TMPDIR=/var/tmp # on the disk
export FIRECRACKER_BIN=$PWD/firecracker SHOAL_TEST_FIRECRACKER=$PWD/store
export PYTHONPATH=$PWD/site SSL_CERT_FILE=$PWD/site/certifi/cacert.pem # the SDK wants authorities, and there is no network
if [ -e rounds ]; then
	bin/shoal firecracker import --firecracker-dir="$PWD/store" firecracker
	export SHOAL_RUNTIMES=firecracker SHOAL_FIRECRACKER_DIR=$PWD/store SHOAL_SANDBOX_DISK=1024
	# One emulated processor does everything: limits of time are long, and no guest boots that nobody has asked for.
	export SHOAL_WARM_MAX=0 SHOAL_ENVD_TIMEOUT=5m
	cd test/chaos || exit
	./chaos.test -test.v -test.timeout 0 -test.run 'TestChaos/all' -patience 10m -population 4 \
		-rounds "$(cat ../../rounds)" 2>&1 | tee "$OUT/chaos.log"
else
	cd test/microvm || exit
	./microvm.test -test.v -test.timeout 0 -test.run "$(cat ../../pattern)" 2>&1 | tee "$OUT/microvm.log"
fi
status=${PIPESTATUS[0]}
dmesg >"$OUT/dmesg"
exit "$status"
