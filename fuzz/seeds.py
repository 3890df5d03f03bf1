"""Write the seeds of the fuzzer: the tests' good files, and the hostile ones that are small.

python fuzz/seeds.py FOLDER
"""

import shutil
import sys
import tempfile
from pathlib import Path

_MOST = 2**14  # bytes

if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import hostile
    import test_hostile_networks as networks

    with tempfile.TemporaryDirectory() as folder:
        for each in hostile.write_all(Path(folder)):
            if not each.name.startswith("place-") and each.path.stat().st_size <= _MOST:
                shutil.copy(each.path, target / each.name)
    for kind, write in networks.FILES.items():
        write(target / f"network-{kind}")
    for name, data in hostile.good_files().items():
        (target / name).write_bytes(data)
    print(f"{len(list(target.iterdir()))} seeds in {target}")
