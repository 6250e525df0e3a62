# Connects, asks and waits for the first byte of the answer, again and again; prints ns.
import json, socket, sys, time

host, port, name, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
question = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
took = []
for number in range(count + 5):
    begin = time.perf_counter_ns()
    with socket.create_connection((host, port)) as c:
        c.sendall(question)
        answer = c.recv(4096)
        end = time.perf_counter_ns()
        assert answer.startswith(b"HTTP/1.1 200"), answer
        while c.recv(4096):
            pass
    if number >= 5:
        took.append(end - begin)
print(json.dumps(took))
