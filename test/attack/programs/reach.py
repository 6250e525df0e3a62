"""Tries to reach addresses from a guest, in every way that a program of root has.

reach.py ADDRESS... prints each address from which something came back.
"""

import errno
import os
import select
import socket
import struct
import sys
import time

PORTS = 22, 53, 80, 443, 5000, 5008, 49983
PATIENCE = 3  # seconds


def connections(addresses):
    """Opens all connections at once, and tells which were made."""
    open_ones, poll = {}, select.poll()
    for address in addresses:
        for port in PORTS:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            s.setblocking(False)
            try:
                code = s.connect_ex((address, port))
            except OSError as e:
                code = e.errno
            if code in (0, errno.EINPROGRESS):
                open_ones[s.fileno()] = s, address, port
                poll.register(s, select.POLLOUT)
    end = time.time() + PATIENCE
    while open_ones and time.time() < end:
        for fd, _ in poll.poll(200):
            s, address, port = open_ones.pop(fd)
            poll.unregister(fd)
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                print("connected", address, port)
            s.close()


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, target, protocol, payload):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def datagrams(addresses):
    for address in addresses:
        for port in PORTS:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            try:
                s.sendto(b"\0" * 30, (address, port))
            except OSError:
                pass
            s.close()


def own_address():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("8.8.8.8", 53))
    return s.getsockname()[0]


def forged(addresses):
    """Sends packets by raw sockets: from the own address and from others, as a new
    connection, as part of one, and as an answer."""
    own = own_address()
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for address in addresses:
        if ":" in address:
            continue
        for source in own, "10.91.0.9", "127.0.0.1", "192.168.1.1", "44.128.0.80", "10.240.0.1", "0.0.0.0":
            for flags in 0x02, 0x10, 0x12, 0x18, 0x00, 0x29:  # SYN, ACK, SYN+ACK, PSH+ACK, none, "Xmas"
                tcp = struct.pack("!HHIIBBHHH", 4000, 80, 1, 1, 0x50, flags, 1000, 0, 0)
                send(raw, packet(source, address, 6, tcp), address)
            send(raw, packet(source, address, 17, struct.pack("!HHHH", 4000, 53, 12, 0) + b"\0" * 4), address)
            echo = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
            send(raw, packet(source, address, 1, echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]), address)
            send(raw, packet(source, address, 4, packet(own, address, 17, b"\0" * 8)), address)  # IP in IP


def send(raw, data, address):
    try:
        raw.sendto(data, (address, 0))
    except OSError:
        pass


def frames():
    """Sends frames to the link itself: ARP for other addresses, and IP to every neighbor."""
    try:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind(("eth0", 0))
    except OSError as e:
        print("no frames:", e, file=sys.stderr)
        return
    own = open("/sys/class/net/eth0/address").read().strip() if os.path.exists("/sys/class/net/eth0/address") else ""
    mac = bytes.fromhex(own.replace(":", "")) if own else b"\x02\0\0\0\0\1"
    for n in range(1, 30):
        for target in b"\xff" * 6, bytes([2, 0, 0, 0, 0, n]):
            claimed = bytes([10, 91, 0, n])
            arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + claimed + target + bytes([10, 92, 0, n])
            send_frame(link, target + mac + b"\x08\x06" + arp)
            ip = packet("10.91.0.%d" % n, "10.91.0.%d" % (n + 1), 17, struct.pack("!HHHH", 9, 4999, 8, 0))
            send_frame(link, target + mac + b"\x08\x00" + ip)


def send_frame(link, frame):
    try:
        link.send(frame)
    except OSError:
        pass


targets = sys.argv[1:]
connections(targets)
datagrams(targets)
if os.getuid() == 0:
    forged(targets)
    frames()
print("tried", len(targets))
