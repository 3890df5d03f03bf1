"""Write the seeds of the fuzzer: the tests' good and hostile files, those that are small.

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

    with tempfile.TemporaryDirectory() as folder:
        for each in hostile.write_all(Path(folder)):
            if each.name.startswith("place-") is False and each.path.stat().st_size <= _MOST:
                shutil.copy(each.path, target / each.name)
    for name, data in hostile.good_files().items():
        (target / name).write_bytes(data)
    print(f"{len(list(target.iterdir()))} seeds in {target}")
