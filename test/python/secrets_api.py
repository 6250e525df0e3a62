"""How the SDK uses the routes of secrets, without a machine (internal/api/sdk_test.go)."""

import asyncio
import re

from e2b import AsyncSecret, Secret
from e2b.exceptions import SecretException, SecretNotFoundException

VALUE = "a-value-that-nobody-sees"


def refused(call, kind):
    """Calls, and returns the error, which must be of a kind and not have the value."""
    try:
        call()
    except kind as error:
        assert VALUE not in str(error)
        return error
    raise AssertionError("it was not refused")


made = Secret.create("My_Key", VALUE, metadata={"owner": "tests"})
assert re.fullmatch(r"sec_[0-9a-hjkmnp-tv-z]{26}", made.secret_id), made
assert (made.name, made.version, made.metadata) == ("my_key", 1, {"owner": "tests"}), made
updated = Secret.update("my_key", VALUE + "2")
assert (updated.version, updated.metadata) == (2, {"owner": "tests"}), updated
assert updated.updated_at > made.created_at
for key in (made.secret_id, "my_key"):
    info = Secret.get_info(key)
    assert (info.secret_id, info.version) == (made.secret_id, 2), info
    assert VALUE not in repr(info)
    assert Secret.exists(key)

Secret.create("second", VALUE)
Secret.create("third", VALUE)
pages = []
paginator = Secret.list(limit=2)
while paginator.has_next:
    pages.append(paginator.next_items())
assert [len(page) for page in pages] == [2, 1], pages
assert sorted(s.name for page in pages for s in page) == ["my_key", "second", "third"], pages

refused(lambda: Secret.create("SECOND", VALUE), SecretException)
assert Secret.destroy("my_key") is True
assert Secret.destroy(made.secret_id) is False
assert not Secret.exists("my_key")
refused(lambda: Secret.get_info("my_key"), SecretNotFoundException)

assert Secret.fill("my_key") == "${e2b.secrets.my_key}"
for bad in ("", "a}b", "a{b", "a\nb"):
    refused(lambda bad=bad: Secret.fill(bad), Exception)
assert Secret.iam_token(audience="a", token_type="JWT-SVID") == {"audience": "a", "token_type": "JWT-SVID"}


async def asynchronous():
    again = await AsyncSecret.create("fourth", VALUE)
    assert (await AsyncSecret.get_info("fourth")).secret_id == again.secret_id
    assert await AsyncSecret.destroy("fourth")


asyncio.run(asynchronous())
print("done")
