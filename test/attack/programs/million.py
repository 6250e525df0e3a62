"""Makes files, each in one of some thousand directories. million.py COUNT"""

import os
import sys
import time

began, count = time.time(), int(sys.argv[1])
made = 0
try:
    for made in range(count):
        if made % 1000 == 0:
            os.makedirs(f"/home/user/many/{made // 1000}")
        with open(f"/home/user/many/{made // 1000}/{made}", "w") as f:
            if made % 10 == 0:
                f.write("some text, as packages have\n")
    made += 1
except OSError as e:
    print("ended by", os.strerror(e.errno))
print(f"{made} files in {time.time() - began:.0f} s")
