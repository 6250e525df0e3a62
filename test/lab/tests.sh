#!/bin/bash
# Runs the tests that `scripts/test lab` has put into a job, each package's in its own directory.
modprobe kvm-amd
modprobe tun
modprobe nf_tables
modprobe nbd nbds_max=0 max_part=0
job=$PWD
export SHOAL_TEST_LAB=1 # tests that need the lab skip without
export TMPDIR=/var/tmp # on the disk
[ ! -e firecracker ] || export FIRECRACKER_BIN=$job/firecracker
[ ! -e jailer ] || export JAILER_BIN=$job/jailer
[ ! -e store ] || export SHOAL_TEST_FIRECRACKER=$job/store SHOAL_TEST_PROGRAMS=$job/programs
what=(-test.run "$(cat pattern)")
case ${what[1]} in Benchmark*) what=(-test.run '^$' -test.benchtime 1x -test.bench "${what[1]}") ;; esac
failed=
for test in tests/*/*.test; do
	name=$(basename "$test" .test)
	echo "=== $name"
	(cd "tests/$name" && "./$name.test" -test.v -test.timeout 90m "${what[@]}" 2>&1) | tee "$OUT/$name.log"
	[ "${PIPESTATUS[0]}" -eq 0 ] || failed="$failed $name"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
